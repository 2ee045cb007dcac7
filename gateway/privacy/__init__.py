"""Privacy: everything that is stored about one shopper, shown and erased.

``walk``    finds it, in Redis and in the table of claims
``found``   what was found, as it is kept
``export``  writes it down for the shopper to read
``erase``   takes it out; ledger, money, units and order ids stay

What is stored where, and for how long, is in ``.github/PRIVACY.md``.
"""
