"""Sockets: one browser at the other end of each.

``frames``    JSON text ⇄ typed commands (pure)
``direct``    the short way between a socket and its endpoint
``outbox``    what waits to be written to one socket, bounded
``roster``    who is connected to which show
``fanout``    what many are told: in slices, stock conflated
``feed``      a shop's stock as this process knows it, kept true by the news
``listener``  the subscription the news comes through
``tally``     what has happened, counted
``server``    uvicorn's WebSocket class, mended
``endpoint``  one socket from upgrade to close
"""
