"""Checkout: a hold becomes a sale and its money is taken, in named steps that survive a crash.

``phases``    the recovery points
``record``    the record of an order and its payment
``records``   where they are kept, and the scripts that move them
``turns``     the queue before Stripe, shared by all processes
``provider``  how Stripe is asked: in turn, again if there is no answer, in our words
``payment``   what Stripe is asked
``marks``     what is written on a payment there, and what that says (pure)
``sale``      the order of a sale, as the POS gets it (pure)
``refund``    what a refund is, and what an order becomes by it (pure)
``refunds``   refunds of captured orders; ``payback`` asks Stripe for them
``settle``    the one way a payment moves on, whoever calls
``capture``   its last step: on the replicas, claimed (strict mode), captured
``voiding``   what becomes of it when the hold is gone: sold after all, or given back
``desk``      runs payments in this process
``words``     what a shopper is told about them (pure)
``webhook``   what Stripe tells us
``unknown``   what it told us about orders nobody knows yet
"""
