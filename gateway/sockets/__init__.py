"""Sockets: one browser at the other end of each.

``frames``    JSON text ⇄ typed commands (pure)
``direct``    the short way between a socket and its endpoint
``outbox``    what waits to be written to one socket, bounded
``roster``    who is connected to which show; one encoded frame to many
``feed``      a shop as this process knows it, kept true by the news
``showcase``  its stock and catalogue, encoded once for all who come
``viewers``   how many watch, over all processes
``parting``   sends away, one after the other, whoever knows a stock that is void
``listener``  the subscriptions the news comes through, probed when they are silent
``ear``       one connection to one server, with the subscriptions there
``tally``     what has happened, counted
``server``    uvicorn's WebSocket class, mended
``endpoint``  one socket from upgrade to close
"""
