"""Stock: holds and the scripts that decide them, what the world reports, and the audit of it all.

``rows``          what Redis keeps per sku (pure)
``reservations``  group commit: reservations that arrive together are decided together
``holds``         a method per hold script
``movements``     receipts, counts, walk-in sales
``sweeper``       holds whose deadline has passed
``now``           the time of a shop, by which deadlines count
``standing``      whether the server may serve the shop; freezing and thawing it
``witness``       whether the servers' clocks go as time does
``lost``          holds that a server has lost, brought back
``audit``         recomputes every quantity from the ledger and names each drift
"""
