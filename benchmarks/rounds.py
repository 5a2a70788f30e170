"""Variants that take turns, and what their figures have in common.

A machine that is busy for a while is then busy for all of them, so ratios of one round hold where
the numbers themselves do not.
"""

import gc
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class Spread(NamedTuple):
    """The median of some figures, and the quartiles around it."""

    low: float
    median: float
    high: float

    def __str__(self) -> str:
        return f"{digits(self.median)} ({digits(self.low)}-{digits(self.high)})"


def take_turns(
    variants: Mapping[str, Callable[[], T]], *, rounds: int, warm: bool = True
) -> dict[str, list[T]]:
    """Run every variant once a round, each round beginning with another one.

    With `warm`, a first round is not counted: it warms caches and opens connections.
    """
    names = list(variants)
    results: dict[str, list[T]] = {name: [] for name in names}
    for number in range(-1 if warm else 0, rounds):
        gc.collect()
        for offset in range(len(names)):
            name = names[(number + offset) % len(names)]
            result = variants[name]()
            if number >= 0:
                results[name].append(result)
    return results


def spread(figures: Sequence[float]) -> Spread:
    """Return the quartiles."""
    if len(figures) == 1:
        return Spread(*figures, *figures, *figures)
    return Spread(*statistics.quantiles(figures, n=4, method="inclusive"))


def quantile(figures: Sequence[float], share: float) -> float:
    """Return what this share of the figures is at most."""
    ordered = sorted(figures)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def ratio(ones: Sequence[float], others: Sequence[float]) -> Spread:
    """Return the quartiles of what each round says of `ones` ÷ `others`."""
    return spread([one / other for one, other in zip(ones, others, strict=True)])


def digits(figure: float) -> str:
    """Write a figure with three digits that count."""
    if figure >= 100:  # noqa: PLR2004 - whole numbers from here
        return f"{figure:,.0f}"
    return f"{figure:.3g}" if figure >= 10 or figure < 0.01 else f"{figure:.2f}"  # noqa: PLR2004
