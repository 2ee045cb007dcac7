"""Reconciling: Redis against Stripe against the order stream, whatever went wrong in between.

``differences``  what can be wrong with an order, by name, and what repairs it (pure)
``statement``    Stripe's side of the books, page by page
``findings``     what a look may repair, and what it found
``reconciler``   looks at every order from all three sides
``repairs``      repairs what was found
``watch``        does so again and again, one sweep at a time
"""
