"""Recovery: what happens when a server may have lost writes.

A shop is served by one server, whose name is in the shop's ``meta``. After a failover, a restart or
a restored disk another server finds that name there, and every script that promises anything
answers FROZEN. One process under a lease then writes again what was sold and is missing, the
gateways bring back the holds of their shoppers, and the shop is thawed in a new epoch.

``sold``      what was sold, as the claims table and Stripe know it
``rebuild``   writes the missing sales again
``recovery``  notices, and does all that
"""
