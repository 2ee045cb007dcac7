"""Telling thousands of viewers: what it costs, how fresh it is, and the alternatives.

towers      the ways to tell N sockets the same, as server processes
readers     a process full of sockets that only read and count
stage       a server with its readers, started, measured and ended together
sections    what is measured, one function for each question
freshness   how old the stock is that viewers see while a sale goes on
tables      the figures as Markdown and as charts
"""
