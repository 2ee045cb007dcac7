"""Checkout: a hold becomes a sale and its money is taken, in named steps that survive a crash.

``phases``   the recovery points
``records``  the order's record in Redis, and the scripts that move it
``payment``  what we ask of Stripe
``settle``   the one way a payment moves on, whoever calls
``desk``     runs payments in this process, so many at a time
``words``    what a shopper is told about them (pure)
``webhook``  what Stripe tells us
"""
