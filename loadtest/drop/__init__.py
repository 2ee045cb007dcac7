"""A load test of a whole deployment that ends with a verdict: shoppers, shapes, thresholds, audit.

Nothing here imports the gateway: with ``pip install locust websocket-client`` it runs against any
deployment, from any host, with a URL and keys. ``loadtest/locustfile.py`` is its front door.
"""
