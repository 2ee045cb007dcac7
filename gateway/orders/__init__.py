"""Orders: what the POS gets.

``entry``    the event of an order (pure)
``stream``   the shop's orders in order: the gate, reading by cursor, trimming
``current``  the latest event of one order
``group``    a consumer group on them: what one webhook has still to get
``index``    which events the stream has, for who reconciles
"""
