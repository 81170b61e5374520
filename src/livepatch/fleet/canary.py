"""Canary judgement: is a metric worse on the nodes with the patch than on those without it, over the same time?

One value a node, because what one node measures twice is not independent.  The test is Mann and Whitney's (1947), which
asks for no distribution; the effect size is Cliff's delta (1993).  Several metrics are corrected by Holm (1979).  For
looking repeatedly, the chance to be wrong is spent over the soak by the function of Lan and DeMets (1983) in the form
of O'Brien and Fleming (1979): next to nothing at first, most at the end.  The part that is newly spent is itself the
level of a look.  That is no more than the exact boundary allows, whatever the looks have in common.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

from livepatch.errors import PolicyError

__all__ = ["Compared", "compare", "holm", "spending", "usable"]

_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What comparing came to: `p` is the chance of such a difference, or a larger one, if there is none.

    `effect` is Cliff's delta, -1 to 1; above 0, nodes with the patch are worse.
    """

    p: float
    effect: float


def spending(alpha: float, share: float) -> float:
    """How much of `alpha` may be spent once that share (0 to 1) of the soak is over."""
    if share <= 0:
        return 0.0
    if share >= 1:
        return alpha
    return 2 * (1 - _NORMAL.cdf(_NORMAL.inv_cdf(1 - alpha / 2) / math.sqrt(share)))


def holm(chances: Sequence[float], level: float) -> tuple[bool, ...]:
    """Which of several differences are real, at a level that holds for all together."""
    real = [False] * len(chances)
    for rank, index in enumerate(sorted(range(len(chances)), key=chances.__getitem__)):
        if not chances[index] <= level / (len(chances) - rank):
            break
        real[index] = level > 0
    return tuple(real)


def usable(values: Mapping[str, float]) -> tuple[float, ...]:
    """The values that say something: one that is no number is no data."""
    return tuple(value for value in values.values() if not math.isnan(value))


def compare(treated: Sequence[float], untreated: Sequence[float], worse: Literal["higher", "lower"]) -> Compared:
    """Compare nodes with the patch and nodes without it, one value of each, one node or more on either side.

    Raises :class:`PolicyError` if the extra ``canary`` is not installed.
    """
    try:
        from scipy.stats import mannwhitneyu
    except ImportError as error:
        raise PolicyError(
            "nodes cannot be compared without scipy",
            found=f"{error}",
            expected="the extra canary",
            action="pip install 'livepatch[canary]', or leave gates with worse out of the plan",
        ) from error

    found = mannwhitneyu(treated, untreated, alternative="greater" if worse == "higher" else "less")
    delta = 2 * float(found.statistic) / (len(treated) * len(untreated)) - 1
    return Compared(p=float(found.pvalue), effect=delta if worse == "higher" else -delta)
