"""Sets the shop up as any shop would: over HTTP, with a key."""

from dataclasses import dataclass
from typing import Any

import httpx

from gateway.clock import SystemClock
from gateway.demo.parts import SHOP, SHOW, Site, gateway_environment
from gateway.demo.refusal import Breakdown
from gateway.environment import read
from gateway.tickets import SCOPES, Tokens

TITLE = "The Holdfast demo show"
_WEBHOOK = "till"


def sign_keys(site: Site) -> dict[str, str]:
    """A key for each kind of program of the shop, by scope."""
    tokens = Tokens(read(gateway_environment(site)), SystemClock())
    return {scope: tokens.sign_key(SHOP, (scope,)) for scope in SCOPES}


@dataclass(frozen=True, slots=True)
class Shopfront:
    """The gateway's HTTP side, for whoever has the admin key."""

    client: httpx.AsyncClient
    site: Site
    key: str

    async def open(self, catalog: bytes) -> None:
        """Import a catalogue, have orders pushed to the till, and start the show.

        All of it may be done again in a data directory that has it already: stock is set only
        where there is none yet.

        Raises:
            Breakdown: the gateway refuses something, or does not answer.
        """
        await self._call("POST", "/v1/catalog/import", csv=catalog)
        target = {"url": f"{self.site.till_url}/orders", "secret": self.site.home.secrets.till}
        await self._call("PUT", f"/v1/webhooks/{_WEBHOOK}", body=target)
        await self._call("PUT", f"/v1/shows/{SHOW}", body={"title": TITLE})
        await self._call("POST", f"/v1/shows/{SHOW}/start")

    async def stock(self) -> dict[str, int]:
        """Units available by sku."""
        items: dict[str, int] = (await self._call("GET", "/v1/stock"))["items"]
        return items

    async def pin(self, sku: str) -> None:
        """Highlight a product."""
        await self._call("POST", f"/v1/shows/{SHOW}/highlight", body={"sku": sku})

    async def stock_lines(self) -> list[dict[str, Any]]:
        """Every quantity, by sku and location."""
        lines: list[dict[str, Any]] = (await self._call("GET", "/v1/stock"))["locations"]
        return lines

    async def titles(self) -> dict[str, str]:
        """What each sku is called, with its options, in the catalogue's order."""
        body = await self._call("GET", "/v1/catalog")
        return {entry["sku"]: _title(entry) for entry in body["entries"]}

    async def orders(self, after: str) -> tuple[list[dict[str, Any]], str]:
        """A page of the order events after a cursor, and the next cursor."""
        body = await self._call("GET", "/v1/orders", query={"after": after, "limit": 200})
        return body["orders"], body["next"]

    async def _call(
        self,
        method: str,
        path: str,
        *,
        body: dict[str, Any] | None = None,
        csv: bytes | None = None,
        query: dict[str, str | int] | None = None,
    ) -> dict[str, Any]:
        headers = {"authorization": f"Bearer {self.key}"}
        if csv is not None:
            headers["content-type"] = "text/csv"
        try:
            answer = await self.client.request(
                method,
                f"{self.site.url}{path}",
                headers=headers,
                json=body,
                content=csv,
                params=query,
            )
            told: dict[str, Any] = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            name = type(error).__name__
            raise Breakdown(f"The gateway did not answer {method} {path} ({name}).") from None
        if answer.is_error:
            reason = told.get("detail") or told.get("code") or answer.status_code
            raise Breakdown(f"The gateway refused {method} {path}: {reason}")
        return told


def _title(entry: dict[str, Any]) -> str:
    return " / ".join([entry["title"], *entry.get("options", {}).values()])
