"""The HTTP front door: who asks and what for, checked before a room is entered.

    routes    the table: every method and path, and who answers it
    callers   who asks: the key of a shop's program
    inputs    what a request brings: body, path, query; bounded and checked
    answers   JSON out, and the headers every answer carries
    failures  whatever goes wrong, as a problem

    tickets  catalog  shows  stock  orders  refunds  webhooks  stripe  probes  a module per noun

Every request that changes something may be sent again as it is: a PUT says what shall be, a
movement and an import carry their own references, a show moves along its states once, and a ticket
is nothing that is kept. ``Idempotency-Key`` is therefore accepted everywhere and needed only where
the same request may be meant twice: a refund. A webhook's generated secret is made of it, too.
"""
