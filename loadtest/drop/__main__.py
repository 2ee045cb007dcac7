"""``python -m loadtest.drop``: the scenarios and options, which Locust's own ``--help`` lacks."""

import argparse
import sys

from loadtest.drop.options import add_options, as_text


def main() -> int:
    """Print them."""
    usage = "locust -f loadtest/locustfile.py --host URL [options]"
    parser = argparse.ArgumentParser(usage=usage, add_help=False)
    add_options(parser.add_argument)
    sys.stdout.write(f"{as_text()}\n{parser.format_help()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
