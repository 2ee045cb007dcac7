"""The HTTP front door: who asks and what for, checked before a room is entered.

    server     uvicorn's HTTP class, mended: how long and how large a request may be
    hall       its connections: how many there may be, and who must go
    requests   the id of a request, and its step of a trace
    routes     the table: every method and path, and who answers it
    addresses  how often one address may ask without a key
    callers    who asks: the key of a shop's program
    inputs     what a request brings: body, path, query; bounded and checked
    refusals   what is wrong with it as HTTP, with statuses of its own
    answers    JSON out, and the headers every answer carries
    failures   whatever goes wrong, as a problem

    tickets catalog shows stock orders refunds webhooks stripe audit probes   a module per noun

Every request that changes something may be sent again as it is: a PUT says what shall be, a
movement and an import carry their own references, a show moves along its states once, and a ticket
is nothing that is kept. ``Idempotency-Key`` is therefore accepted everywhere and needed only where
the same request may be meant twice: a refund. A webhook's generated secret is made of it, too.
"""
