"""A load test of a whole deployment that ends with a verdict: shoppers, shapes, thresholds, audit.

Nothing here imports the gateway: with ``pip install locust websocket-client`` it runs against any
deployment, from any host, with a URL and keys. ``loadtest/locustfile.py`` is its front door.

What is played:

    options      what a load test can be told
    guard        what it refuses to do
    scenarios    stages, drops, and beside them the ``thresholds``
    arrivals     when shoppers come who do not wait for the server; ``record`` takes a show's
    shapes       the stages, as Locust asks for them

By whom:

    run          one process' part, and the whole where it is put together
    hosting      the shop's own people: products, the show, each drop
    shopper      one of them; ``whims`` say what they are like, ``world`` is what they share
    entrance     the ticket, the socket, the welcome
    live_socket  a shopper's socket; ``frames`` reads what comes, ``greenlets`` have it read
    shop_api     HTTP to a gateway

How it went:

    collect      what shoppers report, counted (``histogram``); ``progress`` shows it
    measured     all of it, when the run is over
    vitals       what gateways say of themselves
    books        what was sold, charged and handed on, read over the wire from a ``target``
    verdict      judges all three; ``ruling`` is what it says
    report       writes it down; ``plots`` draws it
"""
