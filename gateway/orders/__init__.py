"""Orders: the event the POS gets (``entry``), and the stream it is kept in (``stream``)."""
