"""Load on Holdfast, and figures: what it costs and carries, beside the alternatives.

Nothing here is part of the gateway. Every server is started by what measures it, on loopback, and
ends with it; only ``locustfile`` tests a deployment that runs already, wherever it is.

    flash           a flash sale against a deployment of our own, from nothing to a verdict
    deployment      that deployment: Valkey, Stripe's sandbox, a till, two gateways, relay, sweep
    planted         faults planted in it, to see that the verdict finds them
    locustfile      the same load for any deployment, with Locust; all of it is in drop/
    spent           who took the cores meanwhile

    trace_picture   draws the trace of ``one_purchase``, whose spans a ``collector`` keeps

    bench_reserve   reservations: all ways side by side in one run; the entry
    bench_fanout    telling thousands of viewers, likewise; all of it is in fanout/
    bench_socket    what a reservation costs a gateway, from frame to reply
    sections        what is measured, one function for each question
    ways/           the ways to reserve a unit: ours and the alternatives
    crowd           drives a way: closed loop, open loop, a race for the last units
    blast           drives one Valkey to its limit, without a gateway
    worker          one process under load, and what it says of itself
    crew            several workers at once, and the CPU of the servers behind them
    child           a process that is told a line at a time
    servers         the Valkeys and the Postgres
    postgres        a real Postgres of one's own
    viewers         a crowd of viewers in a process of its own, told what to do by lines
    viewer_commands what it can be told
    viewer          one of them: a socket in as little Python as will do
    fast_shopper    a shopper who never lets the server wait, for bench_socket
    figures         medians, spreads and ratios of the rounds
    chart, tables   figures as SVG and as Markdown
    report          the machine, and where figures are put
"""
