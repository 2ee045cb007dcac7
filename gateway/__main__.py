"""The command line: ``holdfast demo | serve | relay | sweep | audit | import | token | till``.

Each command reads its settings from the environment (``gateway.settings``), does one thing, and
ends with an exit code: 0 done, 1 not as it should be, 2 asked the wrong way.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from gateway import commands, demo
from gateway.errors import HoldfastError
from gateway.settings import SettingsError

_EPILOG = "Settings come from the environment; a wrong or missing one is named."


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    options = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except SettingsError as error:
        sys.stderr.write(f"holdfast: {error}\n")
        return 2
    except HoldfastError as error:
        sys.stderr.write(f"holdfast: {error.message}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="holdfast",
        description="A checkout gateway for live commerce.",
        epilog=_EPILOG,
    )
    subparsers = parser.add_subparsers(required=True, metavar="command")

    def add(
        name: str, run: Callable[[argparse.Namespace], int], summary: str
    ) -> argparse.ArgumentParser:
        command = subparsers.add_parser(
            name, help=summary, description=summary[0].upper() + summary[1:], epilog=_EPILOG
        )
        command.set_defaults(command=run)
        return command

    demo.add_arguments(add("demo", demo.main, "run a whole shop here, with nothing configured"))
    add("serve", commands.serve, "run the gateway: sockets, HTTP, the page at /")
    relay = add("relay", commands.relay, "deliver confirmed orders to the point of sale")
    relay.add_argument(
        "--retry-parked",
        action="store_true",
        help="deliver what was given up once more, instead of running the relay",
    )
    add("sweep", commands.sweeper, "expire holds, and go on with payments nobody came back for")
    commands.audit_arguments(
        add("audit", commands.audit, "recompute every quantity from the ledger and name each drift")
    )
    commands.import_arguments(
        add("import", commands.import_catalog, "import a Shopify product CSV into a gateway")
    )
    commands.token_arguments(
        add("token", commands.token, "sign a key for a program, or a ticket for a shopper")
    )
    commands.till_arguments(
        add("till", commands.till, "run a small point of sale that receives orders")
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
