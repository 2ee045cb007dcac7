"""``settle``, one step at a time: where a run begins, and what each of its steps is.

    look ─► ask ─► create ─► keep ─► commit                    paying
         ─► read ───┴──────► drop ─► decline
         ─► secure ─► wait ─► capture ─► mark, or fail         committed
         ─► find ─► weigh ─► adopt ─► again                    voiding
                      └────► drop ─► remember ─► wait ─► close

When somebody else must act first, or when the real one would read the record again, the run ends,
for a new one may begin at any time.
"""

from collections.abc import Callable

from tests.property.protocol import paying, run, selling, voiding
from tests.property.protocol.rules import Rules
from tests.property.protocol.run import IDLE, Step
from tests.property.protocol.world import Order, Worker, World


def look(worker: Worker, order: Order) -> Worker:
    """Begin a run: read the record and see what comes next."""
    doing = ""
    if order.phase == "paying":
        doing = "read" if order.intent else "ask"
    elif order.phase == "committed":
        doing = "secure"
    elif order.phase == "voiding":
        doing = "weigh" if order.intent else "find" if order.asked else "remember"
    if not doing:
        return IDLE
    asks, voids = doing == "ask", order.phase == "voiding"
    return worker._replace(
        doing=doing,
        attempt=order.attempt,
        at=order.at if asks else 0,
        token=order.token if asks else 0,
        intent=order.intent,
        reason=order.reason if voids else "",
    )


NEXT: dict[str, Callable[[World, Rules, Worker], list[Step]]] = {
    "ask": paying.ask,
    "create": paying.create,
    "read": paying.read,
    "search": paying.search,
    "refuse": paying.refuse,
    "keep": paying.keep,
    "keep late": paying.keep_late,
    "look back": paying.look_back,
    "commit": paying.commit,
    "drop": run.drop,
    "spare": run.spare,
    "decline": paying.decline,
    "secure": selling.secure,
    "wait": run.wait,
    "capture": selling.capture,
    "mark": selling.mark,
    "fail": selling.fail,
    "find": voiding.find,
    "weigh": voiding.weigh,
    "adopt": voiding.adopt,
    "again": voiding.again,
    "remember": voiding.remember,
    "close": voiding.close,
}
"""What each step does."""
