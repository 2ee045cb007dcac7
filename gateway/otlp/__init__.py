"""Spans on their way to a collector: OTLP over HTTP.

``address``  whether there is a collector, and what begins the spans of a process
``sdk``      how they get there, by OpenTelemetry's own SDK (the extra ``otel``)
"""
