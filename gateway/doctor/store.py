"""Redis itself, where we may ask it; and the stock with its ledger, which the gateway audits."""

from typing import Any

import httpx

from gateway.clock import Clock, SystemClock
from gateway.doctor.finding import Outcome, Patient, State, code_of
from gateway.durability import Durability
from gateway.lane import served
from gateway.readiness import Readiness

_AUDIT_WITHIN_S = 70.0
"""Longer than the gateway gives itself for it."""
_SHOWN = 3


async def redis(patient: Patient, clock: Clock | None = None) -> list[Outcome]:
    """Ask the servers that ``REDIS_URL`` names what they are set to, and their time."""
    if "REDIS_URL" not in patient.given:
        why = "REDIS_URL is not in the environment; what the gateway says of Redis must do."
        return [Outcome("redis", "skipped", why)]
    clock = clock or SystemClock()
    async with served(patient.settings) as lane:
        readiness = Readiness(lane, Durability(lane, patient.settings, clock), clock)
        findings = await readiness.findings(await readiness.look())
    outcomes = []
    for one in findings:
        where = f" ({', '.join(one.servers)})" if one.servers else ""
        bad = one.code in {"redis", "silent", "old_server", "eviction", "no_wait"}
        state: State = "failed" if bad else "warning"
        outcomes.append(Outcome("redis", state, f"{one.message}{where}"))
    return outcomes or [Outcome("redis", "ok", "Redis is set as a shop needs it.")]


async def stock(patient: Patient) -> list[Outcome]:
    """Have the gateway add up the ledger."""
    if not patient.key:
        why = "HOLDFAST_KEY is not in the environment, so that the stock was not audited."
        return [Outcome("stock", "skipped", why)]
    if not patient.headers:
        why = "The key was not sent, for others could read it on the way."
        return [Outcome("stock", "skipped", why, "Serve it by https.")]
    async with patient.client() as client:
        try:
            answer = await client.get("/v1/audit", headers=patient.headers, timeout=_AUDIT_WITHIN_S)
        except httpx.HTTPError as error:
            why = f"The audit was not answered: {type(error).__name__}."
            return [Outcome("stock", "failed", why, "Run `holdfast audit` beside Redis.")]
    if answer.status_code == httpx.codes.OK:
        return [_of_report(answer.json())]
    return [_refused(answer)]


def _of_report(report: dict[str, Any]) -> Outcome:
    verdict = report["stock"]
    drift = verdict["drift"]
    if not drift:
        shortfalls = verdict.get("shortfalls", 0)
        if shortfalls:
            why = f"The stock is as its ledger says, and {shortfalls} places are short of units."
            return Outcome("stock", "warning", why, "Tell the shop: `GET /v1/stock` names them.")
        return Outcome("stock", "ok", "The stock is as its ledger says.")
    shown = ", ".join(
        f"{one['sku'] or 'a hold'} {one['quantity']} {one['found']} for {one['expected']}"
        for one in drift[:_SHOWN]
    )
    more = f" and {len(drift) - _SHOWN} more" if len(drift) > _SHOWN else ""
    return Outcome(
        "stock",
        "failed",
        f"The stock is not what its ledger says: {shown}{more}.",
        "Run `holdfast audit` beside Redis, and see k8s/README.md#stock-is-wrong.",
    )


def _refused(answer: httpx.Response) -> Outcome:
    match answer.status_code:
        case httpx.codes.NOT_FOUND:
            return Outcome("stock", "skipped", "This gateway does not audit for others.")
        case httpx.codes.UNAUTHORIZED | httpx.codes.FORBIDDEN:
            why = "HOLDFAST_KEY is not an admin key of this installation."
            fix = "Sign one there: `holdfast token --scope admin`."
            return Outcome("stock", "failed", why, fix)
        case status:
            why = f"The audit is answered {status} {code_of(answer)}".rstrip() + "."
            return Outcome("stock", "warning", why, "Run `holdfast audit` beside Redis.")
