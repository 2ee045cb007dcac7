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
    "refund update": (stripe.params.RefundUpdateParams, endpoints.REFUND_UPDATE),
    "token": (
        stripe.params.test_helpers.ConfirmationTokenCreateParams,
        endpoints.TOKEN,
    ),
}


def test_no_parameter_is_invented() -> None:
    for name, (sent, taken) in PARAMS.items():
        kinds = {param for param, kind in taken.items() if not isinstance(kind, Removed)}
        assert kinds <= set(sent.__annotations__), name
        assert not (set(taken) - kinds) & set(sent.__annotations__), name


def _members(spec: Spec, *names: str) -> set[str]:
    for name in names:
        record = spec[name]
        assert isinstance(record, Record)
        spec = record.members
    return set(spec)


def test_nested_objects_have_stripes_members() -> None:
    sent: type = stripe.params.PaymentIntentCreateParamsShipping
    assert _members(endpoints.CREATE, "shipping") == set(sent.__annotations__)
    for prefix, spec in (("Create", endpoints.CREATE), ("Confirm", endpoints.CONFIRM)):
        for path in (("Options",), ("Options", "card"), ("Data",)):
            names = (f"payment_method_{path[0].lower()}", *path[1:])
            word = "".join(part.capitalize() for part in path)
            sent = getattr(stripe.params, f"PaymentIntent{prefix}ParamsPaymentMethod{word}")
            assert _members(spec, *names) <= set(sent.__annotations__), names
