"""The other side of the wire: what the gateway talks to when there is no real one.

A sandbox is a separate process that speaks a vendor's own protocol, so that the gateway runs
unchanged against it: the same SDK, the same requests, the same refusals. Nothing here may import
another room of the gateway, and the gateway may only reach a sandbox through its socket.

    stripe/   Stripe's HTTP API, as far as authorize, commit, capture and refund need it
"""
