"""What is on sale: the catalogue, and the shows that present it.

shows       the live events: state, highlight, questions
catalog     the entries of a shop, kept in Redis
shopify     a Shopify product CSV in, entries, stock and every bad row out (pure)
table       a CSV file as rows with line numbers (pure)
prices      a written price as an integer in the currency's minor unit (pure)
plain_text  the words of an HTML description (pure)
"""
