"""Whether a deployment answers, by TLS, in time; and what it says of itself."""

import ssl
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from gateway.doctor.finding import Outcome, Patient

_CLOCK_OFF_S = 5
"""The header has whole seconds, and the way there takes its time."""


async def reach(patient: Patient) -> list[Outcome]:
    """Ask whether it lives, what time it has, and whether it is ready."""
    async with patient.client() as client:
        try:
            alive = await client.get("/livez")
            if alive.status_code != 200 or _said(alive).get("status") != "alive":
                return [_somebody_else(alive)]
            ready = await client.get("/readyz?verbose", headers=patient.headers)
            metrics = await client.get("/metrics")
        except httpx.HTTPError as error:
            return [_unreachable(patient, error)]
    return [
        *(_of_transport(patient), _clock(patient, alive)),
        *(*_ready(ready), _metrics(patient, metrics)),
    ]


def _unreachable(patient: Patient, error: httpx.HTTPError) -> Outcome:
    why = _certificate(error)
    if why:
        return Outcome(
            "reach",
            "failed",
            f"The certificate of {patient.host} is not good: {why}.",
            "Have the ingress present a certificate for this name, with its whole chain.",
        )
    return Outcome(
        "reach",
        "failed",
        f"{patient.url} does not answer: {type(error).__name__}.",
        "See that the name leads to the ingress, that the port is open, and that a gateway runs.",
    )


def _certificate(error: BaseException | None) -> str:
    """Why TLS failed, if it was that."""
    while error:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message.rstrip(".")
        if "certificate" in str(error).lower():
            return str(error).rpartition("] ")[2].partition(" (")[0]
        error = error.__cause__ or error.__context__
    return ""


def _somebody_else(answer: httpx.Response) -> Outcome:
    return Outcome(
        "reach",
        "failed",
        f"Whoever answers is no gateway: /livez is {answer.status_code}.",
        "See where the ingress sends this host's paths; all of them go to the gateway.",
    )


def _of_transport(patient: Patient) -> Outcome:
    if patient.secure or patient.here:
        return Outcome("reach", "ok", "It answers" + (" by TLS." if patient.secure else "."))
    return Outcome(
        "reach",
        "warning",
        "It answers without TLS, so that tickets and keys can be read on the way.",
        "Serve it by https, and send http there.",
    )


def _clock(patient: Patient, answer: httpx.Response) -> Outcome:
    try:
        theirs_s = parsedate_to_datetime(answer.headers["date"]).timestamp()
    except (KeyError, ValueError):
        return Outcome("clock", "skipped", "Its answers carry no date.")
    off_s = theirs_s - patient.now_ms() / 1000
    if abs(off_s) <= _CLOCK_OFF_S:
        return Outcome("clock", "ok", "Its clock and ours agree.")
    direction = "ahead of" if off_s > 0 else "behind"
    return Outcome(
        "clock",
        "warning",
        f"Its clock is {abs(off_s):.0f} s {direction} this machine's.",
        "Have both follow NTP; tickets end, and signatures are checked, by these clocks.",
    )


def _ready(answer: httpx.Response) -> Iterator[Outcome]:
    """What it says of itself: each sentence says what mends it."""
    said = _said(answer)
    failing = said.get("failing", [])
    if answer.status_code == 200:
        yield Outcome("ready", "ok", f"It is ready: {said.get('mode', 'it does not say how')}.")
    elif not failing:
        yield Outcome(
            "ready",
            "failed",
            f"/readyz is {answer.status_code}, and no gateway says why.",
            "See where the ingress sends /readyz.",
        )
    for finding in said.get("findings", []):
        state: Any = "failed" if finding["code"] in failing else "warning"
        where = f" ({', '.join(finding['servers'])})" if finding.get("servers") else ""
        yield Outcome("ready", state, f"{finding['message']}{where}")


def _metrics(patient: Patient, answer: httpx.Response) -> Outcome:
    if answer.status_code != httpx.codes.OK:
        return Outcome("metrics", "ok", "The metrics are not told to everybody.")
    if patient.here:
        return Outcome("metrics", "skipped", "On one machine the metrics are for everybody on it.")
    return Outcome(
        "metrics",
        "warning",
        "Anybody can read /metrics.",
        "Set HOLDFAST_METRICS_PORT, and let only Prometheus reach that port.",
    )


def _said(answer: httpx.Response) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
