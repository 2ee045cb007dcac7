"""Holdfast: a checkout gateway for live commerce.

The walk of one purchase, from the browser to the point of sale:

    shopper ⇄ sockets ─► sessions ─► stock ─► checkout ─► orders ─► pos ─► the shop's till
                 ▲ news comes back through Redis, never by import ┘

1. ``sockets`` reads a frame; the machine in ``sessions`` says whether it may be done now.
2. ``reserve``: ``stock`` has ``hold_reserve.lua`` decide it, all lines or none. The units are off
   sale, the ledger has the movement, and every gateway hears the new stock.
3. ``checkout``: ``pay_begin.lua`` writes the order's record, Stripe authorizes the money,
   ``hold_commit.lua`` makes the hold a sale and appends the POS' event in the same step, and only
   then is the money captured. A crash between any two steps is repaired from the record.
4. ``orders`` keeps the event in a stream; the relay in ``pos`` delivers it once its money is
   captured (``orders.stream.Gate``), again and again if need be, and the till drops what it has.
5. Whatever nobody came back for, ``sweep`` finishes: it expires holds, settles payments, and
   compares what Redis, Stripe and the order stream say (``reconcile``).

On a cluster every shop lives on one primary, wherever its slot is. The lane, the news and the relay
have a connection to each and follow a slot that moves; while a primary is away its shops are
unavailable, and others go on. Two things are shared by all shops and live somewhere, too: the list
of shops, without which new ones are not noticed, and the queue before Stripe, without which nobody
can pay. ``REDIS_URL`` is only where a process begins to ask.

Calls go down this list, values go along the walk; ``.importlinter`` holds the order.

    __main__, commands   the command line
    demo                 a whole shop on one machine, with nothing configured
    doctor               looks at a deployment from outside
    app                  the gateway process: joins the rooms, opens the doors
    metrics              what Prometheus is told
    sweep                the sweep process
    sockets              one browser: frames, outbox, roster, feed, endpoint
    api                  HTTP for the shop's programs, Stripe and SREs
    web                  the page at /
    sessions             what one connected shopper may do, as a pure machine
    rooms                everything below, joined: what the doors are given
    readiness            what is wrong with a process, in words
    admission            the line before a full show, in order of arrival
    tickets              shoppers' tickets and programs' keys
    recovery             a server that may have lost writes: freeze, rebuild, thaw
    reconcile            Redis against Stripe against the order stream, and the repairs
    privacy              what is stored about one shopper: shown, and erased
    backlog              what waits in all shops, and for how long
    pos                  the relay process: delivers orders, retries, parks
    checkout             payments and refunds in recovery points; how Stripe is asked
    stock                holds, movements, the sweep of deadlines, the audit
    shows                catalogue and shows
    claims               strict mode: which order each unit is sold to, durably, outside Redis
    orders               the event of an order, and the stream it waits in
    news                 what changed, published to every gateway
    durability           which sales a crash may take back, and what undermines that
    lane, track          the way to Redis that everybody shares: a connection for each server
    scripts, keys        the Lua files; every key, in one place
    messages, model      what is said over a socket; the nouns
    strict_json          a client's JSON into a type, strictly
    problems             an error as HTTP tells it
    cards                finds card numbers, which no door lets in
    environment          reads the settings, and checks them
    logs                 log lines, with ids and without secrets
    otlp                 sends spans to a collector
    settings, errors     every setting; every error and close code
    histogram, pulse     how long things take; whether they still move
    garbage              when the interpreter looks for cycles
    clock, process       time, handed in; how a process runs and stops
    traces               which trace a request is in, and its steps
    discreet             what is shown of a thing that holds a secret
    sandbox              the other side of the wire: Stripe, a till, a Valkey
"""
