"""`python -m gateway.sandbox.stripe`: see `--help`."""

import sys

from gateway.sandbox.stripe.server import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
