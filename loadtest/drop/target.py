"""What is tested: a deployment, and the keys of a shop in it."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Target:
    """A deployment as the verdict needs to know it."""

    url: str
    """Of the first gateway, or of what is before all of them."""
    admin_key: str = field(repr=False)
    pos_key: str = field(repr=False)
    till_url: str | None
    """Of a till in the manner of ``holdfast till``, if its books are to be compared."""
    started_stock: Mapping[str, int]
    """Units that were for sale by sku: those available before the run, and all received in it."""
