"""What tokens cost, in dollars a million: by a flag, else from a small table of list prices.

Prices change; a receipt whose dollars come from the table says so.
"""

from __future__ import annotations

from typing import NamedTuple

from outthink.core.errors import BadInput

# Public list prices, dollars a million tokens: input, input found in the provider's cache, output.
LISTED = {
    "gpt-4o-mini": (0.15, 0.075, 0.60),
    "gpt-4o": (2.50, 1.25, 10.00),
    "gpt-4.1-nano": (0.10, 0.025, 0.40),
    "gpt-4.1-mini": (0.40, 0.10, 1.60),
    "gpt-4.1": (2.00, 0.50, 8.00),
}


class TokenPrices(NamedTuple):
    """Dollars a token."""

    read: float
    cached: float
    written: float
    is_listed: bool = False  # from the table

    def dollars(self, read: int, cached: int, written: int) -> float:
        return (read - cached) * self.read + cached * self.cached + written * self.written


def parse_prices(text: str) -> TokenPrices:
    """`INPUT,OUTPUT` or `INPUT,CACHED,OUTPUT`, dollars a million tokens."""
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (2, 3) or not all(0 <= n < float("inf") for n in numbers):
        raise BadInput(
            f"cannot read {text!r} as prices: give dollars a million tokens as INPUT,OUTPUT: 0.15,0.60"
        )
    read, cached, written = numbers if len(numbers) == 3 else (numbers[0], *numbers)
    return TokenPrices(read / 1e6, cached / 1e6, written / 1e6)


def listed(model: str) -> TokenPrices | None:
    """The list price of a model: of the longest name in the table that the model's begins with."""
    name = model.rpartition("/")[2]
    known = [key for key in LISTED if name == key or name.startswith(f"{key}-2")]  # dated versions
    if not known:
        return None
    read, cached, written = LISTED[max(known, key=len)]
    return TokenPrices(read / 1e6, cached / 1e6, written / 1e6, is_listed=True)
