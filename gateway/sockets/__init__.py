"""Sockets: one browser at the other end of each.

``frames``    JSON text ⇄ typed commands (pure)
``direct``    the short way between a socket and its endpoint
``outbox``    what waits to be written to one socket, bounded
``roster``    who is connected to which show
``fanout``    what many are told: in slices, stock conflated
``feed``      a shop as this process knows it, kept true by the news
``showcase``  its stock and catalogue, encoded once for all who come
``viewers``   how many watch, over all processes
``parting``   sends away, one after the other, whoever knows a stock that is void
``listener``  the subscriptions the news comes through, probed when they are silent
``ear``       one connection to one server, with the subscriptions there
``tally``     what has happened, counted
``watch``     tells every socket the time
``server``    uvicorn's WebSocket class, mended
``inbox``     what it waits with, in little memory
``door``      who may come in, and how many are inside
``porch``     where newcomers wait for their turn
``drain``     sending everybody elsewhere, in order
``performer``   the commands of one session, each to its answer
``connection``  one socket from its upgrade to its close
``endpoint``  the address they come to
"""
