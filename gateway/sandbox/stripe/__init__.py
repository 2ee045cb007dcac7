"""A Stripe for one machine: enough of its HTTP API that the real SDK cannot tell the difference.

Start it with `python -m gateway.sandbox.stripe`, point the SDK at it with
`stripe.StripeClient("sk_test_any", base_addresses={"api": url})`. In the order of one request:

    server        a socket, a port, a process that ends when asked
    app           the parts, put together and given their paths
    desk          one request: key, limit, form, idempotency, faults, reply
    keys          which API keys are let in
    limit         25 a second an endpoint, 100 an account, then 429
    forms         `metadata[order]=7` becomes {"metadata": {"order": "7"}}
    params        unknown, missing and mistyped parameters, refused in Stripe's words
    idempotency   the same key twice is one effect and two equal replies
    endpoints     the table: path, parameters, what it does
    intents       the PaymentIntent and its states
    methods       pm_card_*, pm_ideal and confirmation tokens, for servers and for pages
    cards         what each test card does
    instruments   cards and bank accounts as JSON, stored and charged
    acquirer      the bank: authorizes, asks for a second step, or declines
    transfers     iDEAL: under way, arrived or failed, and never captured later
    refunds       money back, never above what was captured
    money         currencies, smallest and largest amounts
    listing       pages, search, expand
    secondstep    the page where the shopper answers the bank, and what becomes of the answer
    control       account and balance, and the summary for tests and the demo
    bench         what all of these are given: store, ids, clock, journal
    objects       the JSON of every resource
    refusal       the JSON of every error
    events        what happened, as Stripe's event objects
    webhooks      those events, signed and delivered, again and again if need be
    faults        outages, slow and lost replies, 500s, declines, races, bad webhooks: switchable
    store         SQLite: one row a resource, one transaction a request
    ids           pi_…, ch_…, re_…

Where Stripe's documentation is silent, what was recorded of its test mode decides. What the
sandbox does not model it refuses by name instead of pretending.
"""
