"""Strict mode: which order each unit is sold to, in a durable table outside Redis.

Before the money of a sale is captured, each of its units gets a row that is unique by shop, sku,
location and unit number. So whatever Redis forgets, no unit is ever captured for two orders, and
what is lost there can be built again from here. The table is SQLite's on one machine and
Postgres' beyond; ``address.open_claims`` opens the one that the settings name.

A table holds what the orders hold, contacts and addresses included: guard it as you guard Redis.
"""
