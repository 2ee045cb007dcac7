"""Every guard of the protocol by name: why it exists, and where it stands in the code.

A guard is a single check, write or order of steps without which money or units go wrong. The tests
take each one away and demand that the exploration finds out.
"""

from enum import Enum


class Guard(Enum):
    """Name = (where it stands, why it exists). A place is ``file`` or ``file:name``."""

    RESERVE_ONCE = (
        "lua/hold_reserve.lua",
        "A copy of a reservation finds the hold of its key; else every lost reply leaks units.",
    )
    HOLD_LIVES_WITH_ITS_PAYMENT = (
        "lua/pay_begin.lua",
        "From the start of a payment the hold lasts as long as the payment may take.",
    )
    QUEUE_DOES_NOT_COUNT = (
        "lua/order_move.lua",
        "The budget counts from when Stripe is asked, not while we keep the shopper waiting.",
    )
    SAME_REQUEST_SAME_ATTEMPT = (
        "lua/pay_begin.lua",
        "A copy of a checkout under way joins the attempt instead of beginning another.",
    )
    ATTEMPT_AFTER_A_DEFINITE_NO = (
        "lua/pay_begin.lua",
        "After a timeout both cards could be charged: the second waits for a definite failure.",
    )
    LATE_COPY_BEGINS_NOTHING = (
        "lua/pay_begin.lua",
        "A late copy of a declined request does not charge the card it was declined for.",
    )
    NO_ATTEMPT_WHILE_VOIDING = (
        "lua/pay_begin.lua",
        "The next attempt would forget the intent that is still to be cancelled.",
    )
    ASKED_IS_WRITTEN_FIRST = (
        "gateway/checkout/settle.py:_is_asked",
        "Whoever voids must know that there may be an intent nobody has heard of.",
    )
    KEY_ON_CREATE = (
        "gateway/checkout/payment.py:authorize",
        "Asking again for an intent whose reply was lost must not authorize twice.",
    )
    KEY_NAMES_THE_ATTEMPT = (
        "gateway/checkout/payment.py:authorize",
        "The second card must not be answered with the first one's decline.",
    )
    READ_AFTER_BROKEN_CREATE = (
        "gateway/checkout/payment.py:authorize",
        "A 500 may have made an intent: look before saying that there is none.",
    )
    READ_AFTER_BROKEN_CAPTURE = (
        "gateway/checkout/payment.py:_change",
        "A 500 may have taken the money: look before giving the units away.",
    )
    NEXT_KEY_AFTER_BROKEN = (
        "gateway/checkout/provider.py:insist",
        "Under its key a 500 is all one hears for a day; having looked, another key is safe.",
    )
    NEXT_KEY_AFTER_REFUSED_CANCEL = (
        "gateway/checkout/payment.py:cancel",
        "A cancellation refused while the payment was processing must not be refused for a day.",
    )
    INTENT_IS_OURS = (
        "gateway/checkout/payment.py:may_settle",
        "Only an intent made for this order, to the last detail, may pay for it.",
    )
    COMMIT_BEFORE_CAPTURE = (
        "gateway/checkout/settle.py:_pay",
        "An authorization can be given back, a charge cannot: first the units, then the money.",
    )
    CAPTURE_AFTER_WAIT = (
        "gateway/checkout/capture.py:_is_durable",
        "A commit that a failover may lose must not be paid for.",
    )
    WAIT_WHERE_WRITTEN = (
        "gateway/lane.py:call_durably",
        "WAIT counts the writes of its own connection, and of the node it is asked of, only.",
    )
    REPEATED_COMMIT_WRITES = (
        "lua/hold_commit.lua",
        "WAIT after a repetition that wrote nothing says yes whatever the replicas have.",
    )
    REPEATED_COMMIT_IS_THE_SAME = (
        "lua/hold_commit.lua",
        "Who remembers a sale that a failover lost must not take a later one for it, and charge.",
    )
    COMMIT_NEEDS_THE_HOLD = (
        "lua/hold_commit.lua",
        "What was released or has expired may be another's by now.",
    )
    COMMIT_BINDS_THE_INTENT = (
        "lua/hold_commit.lua",
        "A sale made again after a failover that forgot its intent must name what pays for it.",
    )
    FENCE_OF_COMMIT = (
        "lua/hold_commit.lua",
        "A delayed loser must not sell in the name of a later attempt.",
    )
    FENCE_OF_MOVES = (
        "lua/order_move.lua",
        "What a delayed run learnt of an earlier attempt is not written into a later one.",
    )
    FENCE_OF_DECLINE = (
        "lua/order_move.lua",
        "The decline of an earlier attempt does not end a later one.",
    )
    EXPIRY_LOOKS_AGAIN = (
        "lua/hold_expire.lua",
        "Between reading what is due and ending it, a hold may have been sold.",
    )
    DECLINE_CANCELS = (
        "gateway/checkout/settle.py:_decline",
        "The page still has the secret of a failed intent and could confirm it anew.",
    )
    VOID_LOOKS_FOR_LOST_INTENT = (
        "gateway/checkout/voiding.py:_lost_or_known",
        "Stripe may have authorized what nobody heard of.",
    )
    QUARANTINE = (
        "gateway/checkout/voiding.py:_may_still_come",
        "That there is no intent is believed only when no request can arrive any more.",
    )
    CANCEL_BEFORE_VOIDED = (
        "gateway/checkout/voiding.py:go_on",
        "*Not charged* is said when nothing is authorized any more.",
    )
    SAID_ONLY_ONCE_VOIDED = (
        "gateway/checkout/words.py:checkout_frame",
        "While it is being voided it may still be sold: the shopper hears *processing*.",
    )
    VOIDING_IS_DURABLE = (
        "gateway/checkout/voiding.py:_is_over",
        "A failover that forgets the release would pay what the shopper was told is not charged.",
    )
    READ_AFTER_REFUSED_CANCEL = (
        "gateway/checkout/voiding.py:give_back",
        "A cancellation is also refused because the money is taken.",
    )
    REFUND_ONLY_THE_UNSOLD = (
        "gateway/checkout/voiding.py:give_back",
        "A loser that finds the money taken must not give back what the winner was paid.",
    )
    READ_AFTER_REFUSED_CAPTURE = (
        "gateway/checkout/capture.py:_take",
        "A capture is also refused because it was done already.",
    )
    FAILS_ONCE = (
        "lua/order_fail.lua",
        "The units of a failed sale go back on sale once.",
    )
    AGAIN_LOOKS_AT_THE_STOCK = (
        "lua/hold_again.lua",
        "After the deadline the units may be another's.",
    )
    AGAIN_ONLY_AFTER_EXPIRY = (
        "lua/hold_again.lua",
        "What the shopper gave back is not sold to them after all.",
    )
    EVENT_AFTER_CAPTURE = (
        "gateway/orders/stream.py:gate",
        "The POS must not hand over what may yet fail to be paid.",
    )
    PINNED_KEEPS_ITS_UNITS = (
        "lua/hold_expire.lua",
        "Money that may be taken at any moment needs its units until it is cancelled.",
    )
    PINNED_SELLS_WHAT_IT_HOLDS = (
        "gateway/checkout/voiding.py:_sell_late",
        "A pinned hold is still there: selling other units for it would keep them for ever.",
    )
    STRAYS_ARE_CANCELLED = (
        "gateway/checkout/settle.py:call_back",
        "After a failover that lost an attempt, its authorization is nobody's.",
    )

    REFUND_ONCE_PER_KEY = (
        "lua/refund_begin.lua",
        "A caller that repeats itself gets the same refund.",
    )
    REFUND_RESERVES_FIRST = (
        "lua/refund_begin.lua",
        "All refunds together never exceed what was captured, however many are asked for at once.",
    )
    REFUND_HAS_A_KEY = (
        "gateway/checkout/payback.py",
        "Two runs that both saw no refund must not both make one.",
    )
    REFUND_KEY_NAMES_THE_REFUND = (
        "gateway/checkout/payback.py",
        "The second refund must not be answered with the first one's success.",
    )
    REFUND_LOOKS_FIRST = (
        "gateway/checkout/payback.py",
        "Stripe forgets keys after a day, and a refund may have waited longer.",
    )
    REFUND_ENDS_ONCE = (
        "lua/refund_finish.lua",
        "The order's next version, and its units, come once.",
    )

    @property
    def place(self) -> str:
        """Where it stands: ``file`` or ``file:name``."""
        return str(self.value[0])

    @property
    def why(self) -> str:
        """Why it exists, in a sentence."""
        return str(self.value[1])
