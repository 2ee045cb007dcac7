"""Identifiers in Stripe's form, made from the randomness handed in."""

import random
import string

ALPHABET = string.ascii_letters + string.digits
ID_LENGTH = 24
SECRET_LENGTH = 25
BITS_A_LETTER = 6


class Ids:
    """Mints ids and client secrets; give it a SystemRandom wherever a secret must be one."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def new(self, prefix: str) -> str:
        """`pi` becomes `pi_` and 24 letters and digits."""
        return f"{prefix}_{self._word(ID_LENGTH)}"

    def secret(self, identifier: str) -> str:
        """The client secret of a PaymentIntent: knowing it is the right to pay it."""
        return f"{identifier}_secret_{self._word(SECRET_LENGTH)}"

    def _word(self, length: int) -> str:
        # One draw for all letters: SystemRandom asks the kernel at every draw.
        number = self._rng.getrandbits(length * BITS_A_LETTER)
        letters = []
        for _ in range(length):
            number, letter = divmod(number, len(ALPHABET))
            letters.append(ALPHABET[letter])
        return "".join(letters)
