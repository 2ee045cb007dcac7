"""Currencies and amounts: what may be charged at all. Amounts are integers in minor units."""

from gateway.sandbox.stripe import refusal

MOST = 99_999_999

_ZERO_DECIMAL = "bif clp djf gnf jpy kmf krw mga pyg rwf ugx vnd vuv xaf xof xpf"
_TWO_DECIMALS = """
    aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bhd bmd bnd bob brl bsd bwp byn bzd
    cad cdf chf cny cop crc cve czk dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gtq gyd hkd
    hnl htg huf idr ils inr isk jmd jod kes kgs khr kwd kyd kzt lak lbp lkr lrd lsl mad mdl mkd
    mmk mnt mop mur mvr mwk mxn myr mzn nad ngn nio nok npr nzd omr pab pen pgk php pkr pln qar
    ron rsd rub sar sbd scr sek sgd shp sle sos srd std szl thb tjs tnd top try ttd twd tzs uah
    usd uyu uzs wst xcd yer zar zmw
"""
ZERO_DECIMAL = frozenset(_ZERO_DECIMAL.split())
CURRENCIES = ZERO_DECIMAL | frozenset(_TWO_DECIMALS.split())

# Stripe's published minimum charge amounts; a currency without one may charge its smallest unit.
LEAST = {
    "aed": 200,
    "aud": 50,
    "bgn": 100,
    "brl": 50,
    "cad": 50,
    "chf": 50,
    "czk": 1500,
    "dkk": 250,
    "eur": 50,
    "gbp": 30,
    "hkd": 400,
    "huf": 17500,
    "inr": 50,
    "jpy": 50,
    "mxn": 1000,
    "myr": 200,
    "nok": 300,
    "nzd": 50,
    "pln": 200,
    "ron": 200,
    "sek": 300,
    "sgd": 50,
    "thb": 1000,
    "usd": 50,
}

_SIGNS = {"usd": "$", "eur": "€", "gbp": "£", "jpy": "¥"}


def spell(amount: int, currency: str) -> str:
    """1250 in usd is `$12.50`, 1250 in jpy `¥1250`, 1250 in sek `12.50 SEK`."""
    number = str(amount) if currency in ZERO_DECIMAL else f"{amount // 100}.{amount % 100:02}"
    sign = _SIGNS.get(currency)
    return f"{sign}{number}" if sign else f"{number} {currency.upper()}"


def check(amount: int, currency: str) -> str:
    """The currency in lower case; raises RefusedError if nobody may charge this."""
    code = currency.lower()
    if code not in CURRENCIES:
        raise refusal.malformed(f"Invalid currency: {code}", param="currency")
    least = LEAST.get(code, 1)
    if amount < least:
        message = f"Amount must be at least {spell(least, code)} {code}"
        raise refusal.malformed(message, code="amount_too_small", param="amount")
    if amount > MOST:
        message = f"Amount must be no more than {spell(MOST, code)} {code}"
        raise refusal.malformed(message, code="amount_too_large", param="amount")
    return code
