"""The command line: ``holdfast demo``, ``serve``, ``relay``, ``sweep`` and those below.

Each command reads its settings from the environment (``gateway.environment``), does one thing, and
ends with an exit code: 0 done, 1 not as it should be, 2 asked the wrong way.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence

from gateway.errors import HoldfastError
from gateway.settings import SettingsError

_COMMANDS = {
    "demo": ("demo", "run a whole shop here, with nothing configured"),
    "serve": ("serve", "run the gateway: sockets, HTTP, the page at /"),
    "drain": ("drain", "send the sockets of the gateway beside it elsewhere, and wait"),
    "relay": ("relay", "deliver confirmed orders to the point of sale"),
    "sweep": ("sweep", "expire holds, and go on with payments nobody came back for"),
    "audit": ("audit", "recompute every quantity from the ledger and name each drift"),
    "doctor": ("doctor", "check a deployment from outside, and name what mends it"),
    "rebuild": ("rebuild", "write sales again that a server has lost"),
    "privacy": ("privacy", "show all that is stored about one shopper, or erase it"),
    "import": ("import_catalog", "import a Shopify product CSV into a gateway"),
    "token": ("token", "sign a key for a program, or a ticket for a shopper"),
    "till": ("till", "run a small point of sale that receives orders"),
}
"""Each command: its module in ``gateway.commands``, and what it is for."""

_EPILOG = "Settings come from the environment; a wrong or missing one is named."


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    words = sys.argv[1:] if argv is None else argv
    asked = next((word for word in words if not word.startswith("-")), None)
    options = _parser(asked).parse_args(words)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except SettingsError as error:
        sys.stderr.write(f"holdfast: {error}\n")
        return 2
    except HoldfastError as error:
        sys.stderr.write(f"holdfast: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parser(asked: str | None) -> argparse.ArgumentParser:
    """Knows every command's name, and the arguments of the one that is asked for."""
    parser = argparse.ArgumentParser(
        prog="holdfast",
        description="A checkout gateway for live commerce.",
        epilog=_EPILOG,
    )
    subparsers = parser.add_subparsers(required=True, metavar="command")
    for name, (module, summary) in _COMMANDS.items():
        command = subparsers.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:],
            epilog=_EPILOG,
            allow_abbrev=False,  # What is cut off of --key-file would take a key for a file's name.
        )
        if name == asked:
            room = importlib.import_module(f"gateway.commands.{module}")
            room.add_arguments(command)
            command.set_defaults(command=room.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
