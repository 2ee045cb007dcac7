"""What Prometheus is told; read off the parts when it asks.

    gateway     sockets, commands, stock told: what a gateway counts by itself
    sweep       what was found wrong, and what waits in all shops
    rooms       Stripe, payments, recovery: the same in a gateway and in a sweep
    relay       whether a relay gets on; ``pos.tally`` has what it did
    lane        how Redis answers
    process     the interpreter's own numbers, and which version runs
    serving     the port on which a relay or a sweep answers Prometheus and probes
    families    our counts and histograms as Prometheus' client wants them

Names carry their units; a name without one is a plain count of what it says. Labels are words of
ours, never what a client sent, so that there are few of them.
"""
