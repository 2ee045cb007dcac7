"""``holdfast demo``: a whole shop on this machine, with nothing installed or configured.

    options      what the command line asks for
    ware         the catalogue that is sold, found good before anything starts
    home         a run's files and secrets; one run at a time in a data directory
    addresses    free ports, and how many sockets a process may open
    parts        every process, and what it is told: pure
    child        one process: started, watched, stopped, and its last words
    family       all of them: started together, watched, stopped in their order
    supervisor   the whole run, from the first check to the exit code
    stop         Ctrl-C and SIGTERM: in order the first time, at once the second
    shopfront    sets the shop up over HTTP: catalogue, show, webhook, as any shop would
    reading      what the shop looks like just now
    board        that, live in the terminal (live_board); plain lines where there is none
    figures      what either of them says: pure
    ending       the crowd goes, payments come to rest, everything is counted and audited
    summary      do the orders, the till, the ledger and the money agree?
    voice        what is said to people, and what to programs
    refusal      why there is no demo

The crowd is a process of its own, and speaks to the gateway as any player does:

    crowd        all shoppers, and when they go
    shopper      one of them: what is done, and what is done again after a failure
    temper       what a shopper is like, drawn from a seed: pure
    entrance     the ticket, and the bank
    visit        the socket
    counts       what they did, reported to crowd_watch in the supervisor
"""

import argparse

from gateway.demo.options import DemoOptions, add_arguments

__all__ = ["DemoOptions", "add_arguments", "main", "run"]


def run(options: DemoOptions) -> int:
    """Run the demo until its time is over or it is told to stop; return the exit code.

    0: stopped as asked; with ``--for``, everything agreed as well. 1: something did not agree, or
    a part of it ended by itself. 2: it could not start as asked.
    """
    # Every other command would pay for these imports, too.
    from gateway.demo.supervisor import supervise  # noqa: PLC0415

    return supervise(options)


def main(arguments: argparse.Namespace) -> int:
    """Run the demo as the command line asks."""
    return run(DemoOptions.of(arguments))
