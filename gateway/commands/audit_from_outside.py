"""``holdfast audit --url``: has a gateway audit its shop, and prints what it says."""

import argparse
import os
import sys
import time

import httpx
import msgspec

from gateway.api.audit import WITHIN_S, Payments, Report
from gateway.commands.audit_report import in_words, reconciled
from gateway.environment import program_key

_MARGIN_S = 15
_TURNS = 30
"""Times to ask again while somebody else's audit is under way there."""


class _Problem(msgspec.Struct):
    detail: str = ""
    retry_after_ms: int = 0


def run(options: argparse.Namespace) -> int:
    """Audit over HTTP; 1 when anything differs, 2 when there is no key."""
    key = program_key(os.environ, options.key_file)
    if not key:
        sys.stderr.write("holdfast: put an admin key into HOLDFAST_KEY, or name a --key-file.\n")
        return 2
    query = {"payments": "true", "since_h": str(options.since)} if options.payments else {}
    try:
        answer = _ask(options.url.rstrip("/") + "/v1/audit", query, key)
        if not answer.is_success:
            sys.stderr.write(f"holdfast: no audit: {_problem(answer).detail or answer}\n")
            return 1
        report = msgspec.json.decode(answer.content, type=Report)
    except (httpx.HTTPError, httpx.InvalidURL, msgspec.DecodeError) as error:
        sys.stderr.write(f"holdfast: no audit: {error}\n")
        return 1
    sys.stdout.write(answer.text + "\n" if options.json else told(report))
    return 0 if is_good(report) else 1


def _ask(url: str, query: dict[str, str], key: str) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"}
    # No proxy of the environment, as for our other programs: over http it would be given the key.
    with httpx.Client(headers=headers, timeout=WITHIN_S + _MARGIN_S, trust_env=False) as client:
        for _ in range(_TURNS):
            answer = client.get(url, params=query)
            if answer.status_code != httpx.codes.TOO_MANY_REQUESTS:
                break
            time.sleep(max(100, _problem(answer).retry_after_ms) / 1000)
    return answer


def _problem(answer: httpx.Response) -> _Problem:
    try:
        return msgspec.json.decode(answer.content, type=_Problem)
    except msgspec.DecodeError:
        return _Problem()


def is_good(report: Report) -> bool:
    """Nothing drifted, no difference is left, and what was taken is what was sold."""
    money = report.payments
    if report.stock.drift or (money and money.reconciliation.left):
        return False
    return money is None or report.unsettled > 0 or _agrees(money)


def _agrees(money: Payments) -> bool:
    taken = money.reconciliation
    return (taken.captures, taken.captured) == (money.sold.orders, money.sold.amount)


def told(report: Report) -> str:
    """A report for people."""
    text = (
        f"{report.mode} mode; {report.unsettled} payments not at rest; "
        f"a round trip to Redis takes {report.redis_ms:.1f} ms\n{in_words(report.stock)}"
    )
    if money := report.payments:
        taken = money.reconciliation
        text += (
            f"{reconciled(taken)}"
            f"taken: {taken.captures} payments, {_sums(taken.captured)}; "
            f"sold: {money.sold.orders} orders, {_sums(money.sold.amount)}\n"
        )
    return text


def _sums(amounts: dict[str, int]) -> str:
    return ", ".join(f"{amount} {name}" for name, amount in sorted(amounts.items())) or "0"
