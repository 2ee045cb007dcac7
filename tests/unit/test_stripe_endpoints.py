"""The table of endpoints and what the SDK would send agree."""

import stripe.params

from gateway.sandbox.stripe import endpoints
from gateway.sandbox.stripe.params import Record, Removed, Spec

PARAMS: dict[str, tuple[type, Spec]] = {
    "create": (stripe.params.PaymentIntentCreateParams, endpoints.CREATE),
    "confirm": (stripe.params.PaymentIntentConfirmParams, endpoints.CONFIRM),
    "capture": (stripe.params.PaymentIntentCaptureParams, endpoints.CAPTURE),
    "cancel": (stripe.params.PaymentIntentCancelParams, endpoints.CANCEL),
    "list": (stripe.params.PaymentIntentListParams, endpoints.PAGE),
    "refund": (stripe.params.RefundCreateParams, endpoints.REFUND),
}


def test_no_parameter_is_invented() -> None:
    for name, (sent, taken) in PARAMS.items():
        kinds = {param for param, kind in taken.items() if not isinstance(kind, Removed)}
        assert kinds <= set(sent.__annotations__), name
        assert not (set(taken) - kinds) & set(sent.__annotations__), name


def test_nested_objects_have_stripes_members() -> None:
    shipping = endpoints.CREATE["shipping"]
    assert isinstance(shipping, Record)
    sent = stripe.params.PaymentIntentCreateParamsShipping
    assert set(shipping.members) == set(sent.__annotations__)
