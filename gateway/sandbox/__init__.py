"""The other side of the wire: what the gateway talks to when there is no real one.

A sandbox is a separate process that speaks a vendor's own protocol, so that the gateway runs
unchanged against it: the same SDK, the same requests, the same refusals. Nothing here may import
another room of the gateway, and the gateway may only reach a sandbox through its socket.

    stripe/             Stripe's HTTP API, as far as authorize, capture and refund need it
    till, tillbook      a point of sale that takes orders by webhook
    serving             a socket for either, in this process or in one of its own
    valkey              a real Valkey from a wheel, for the demo and for tests
    ports               where they listen
    warden              ends them all when whoever started them is gone
"""
