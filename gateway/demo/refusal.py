"""Why the demo does not run: asked for what cannot be, or broken on the way."""


class Refusal(Exception):
    """The demo cannot start as asked; the message is one sentence for whoever asked."""


class Breakdown(Exception):
    """A part did not start, or ended by itself; the message says which, and its last words."""
