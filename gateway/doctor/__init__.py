"""Checks a deployment from outside, as a browser, a program of the shop and Stripe see it.

    finding    one check's outcome, and the patient: where it is, and what opens it
    reach      whether it answers, by TLS, in time; what it says of itself
    live       a ticket, a socket, a welcome; and a foreign page that is turned away
    money      what Stripe's key may do, and whether Stripe's webhook arrives
    store      Redis itself, where we may ask it; the stock with its ledger

Each check ends with what is wrong in one sentence, and what mends it in another. It changes
nothing: no hold is made, no money is asked for.
"""
