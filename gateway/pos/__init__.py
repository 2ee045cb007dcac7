"""The point of sale's side of the line, a process of its own: orders on their way to the POS.

``webhooks``  where a shop wants its orders pushed to
``relay``     which relay works for which shop, and the couriers it has at work
``courier``   one webhook's deliveries: waits for the money, delivers in order, parks
``delivery``  one delivery over HTTP, signed, and what the answer means
``fence``     where a delivery may go, and the connection that goes nowhere else
``parked``    deliveries given up, until somebody has them tried again
``queues``, ``patience``, ``backoff``, ``tally``   what these stand on
"""
