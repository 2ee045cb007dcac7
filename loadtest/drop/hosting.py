"""What the shop's own people do in a load test: products, the show, and the units of each drop."""

import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from loadtest.drop.shop_api import Api, NoAnswer, Refused

LOCATION = "main"
PRICE = {"amount": 2_500, "currency": "EUR"}
_TRIES = 5
_PAUSE_S = 0.5
_MEMORY = re.compile(r"^process_resident_memory_bytes (\S+)", re.MULTILINE)


@dataclass(slots=True)
class Host:
    """One shop's, with its keys."""

    admin: Api
    pos: Api
    show: str
    run: str
    """Sets the movements of this run apart."""
    started: Counter[str] = field(default_factory=Counter)
    """Units for sale by sku: those there before, and all received since."""
    _moved: int = 0

    def sets_up(self, skus: Sequence[str]) -> None:
        """See that the show is live and these products are in the catalogue.

        Raises:
            NoAnswer, Refused: it cannot be done.
        """
        entries = self.admin.expect("GET", "/v1/catalog")["entries"]
        missing = sorted(set(skus) - {entry["sku"] for entry in entries})
        if missing:
            made = [{"sku": sku, "title": f"Load test {sku}", "price": PRICE} for sku in missing]
            self.admin.expect("PUT", "/v1/catalog", {"entries": made})
        show = self.admin.call("GET", f"/v1/shows/{self.show}")
        if show.status == 404:
            self.admin.expect("PUT", f"/v1/shows/{self.show}", {"title": "Load test"})
        self.admin.expect("POST", f"/v1/shows/{self.show}/start")
        items = self.pos.expect("GET", "/v1/stock")["items"]
        self.started.update({sku: items.get(sku, 0) for sku in skus})

    def drops(self, units: Mapping[str, int]) -> None:
        """Report units as received; sent again after a failure, they count once.

        Raises:
            NoAnswer, Refused: it did not work in several tries.
        """
        moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        movements = []
        for sku, count in units.items():
            self._moved += 1
            movements.append(
                {
                    "reference_id": f"{self.run}-{self._moved}",
                    "kind": "received",
                    "sku": sku,
                    "location": LOCATION,
                    "quantity": count,
                    "occurred_at": moment,
                    "source": "load-test",
                }
            )
        self._moves(movements)
        self.started.update(units)

    def _moves(self, movements: list[dict[str, Any]]) -> None:
        for attempt in range(_TRIES):
            try:
                said = self.pos.expect("POST", "/v1/stock/movements", {"movements": movements})
            except (NoAnswer, Refused):
                if attempt == _TRIES - 1:
                    raise
                time.sleep(_PAUSE_S)
            else:
                wrong = [one for one in said["results"] if one["status"] == "error"]
                if wrong:
                    raise Refused("POST /v1/stock/movements", 200, {"detail": str(wrong[0])})
                return


def split(units: int, skus: Sequence[str]) -> dict[str, int]:
    """Units over products, evenly; the first has what is left over."""
    each, over = divmod(units, len(skus))
    counts = {sku: each + (over if not index else 0) for index, sku in enumerate(skus)}
    return {sku: count for sku, count in counts.items() if count}


def memory_mib(metrics_url: str) -> float | None:
    """What a gateway says it takes; ``None`` when it does not say."""
    try:
        answer = Api(metrics_url, timeout_s=5).call("GET", "/metrics")
    except NoAnswer:
        return None
    found = _MEMORY.search(answer.said) if isinstance(answer.said, str) else None
    return float(found[1]) / 2**20 if found else None
