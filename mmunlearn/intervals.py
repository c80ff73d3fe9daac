"""Confidence intervals: Wilson for a share, bootstrap for any statistic, normal for the rest; all vectorised."""

from collections.abc import Callable

import numpy as np
from scipy.special import betaincinv, ndtri

from mmunlearn import seeds

LEVEL = 0.95


def wilson(hits: np.ndarray | float, n: np.ndarray | int, level: float = LEVEL) -> tuple[np.ndarray, np.ndarray]:
    """Ends of Wilson's score interval for `hits` of `n` (arrays broadcast); NaN where n is 0.

    >>> [round(float(end), 4) for end in wilson(0, 10)]
    [0.0, 0.2775]
    """
    hits, n = np.asarray(hits, dtype=np.float64), np.asarray(n, dtype=np.float64)
    z = ndtri(0.5 + level / 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = hits / n
        centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return np.where(n > 0, np.maximum(centre - half, 0.0), np.nan), np.where(
        n > 0, np.minimum(centre + half, 1.0), np.nan
    )


def paired_difference(both: int, gained: int, lost: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Ends of the interval of a difference of two shares of the same n items, (gained − lost)/n.

    both: items that have it before and after, gained: only after, lost: only before. Newcombe's method 10 (Statistics
    in Medicine 17, 1998, 2635-2650): Wilson's ends of both shares, put together with the items' correlation, whose
    numerator is taken towards 0 by n/2. NaN where n is 0.

    >>> [round(end, 3) for end in paired_difference(0, 5, 0, 24)]
    [0.028, 0.405]
    """
    if not n:
        return float("nan"), float("nan")
    after, before = (both + gained) / n, (both + lost) / n
    (low_a, high_a), (low_b, high_b) = ((float(e) for e in wilson(share * n, n, level)) for share in (after, before))
    neither = n - both - gained - lost
    spread = (both + gained) * (both + lost) * (neither + gained) * (neither + lost)
    tied = both * neither - gained * lost
    phi = (max(tied - n / 2, 0.0) if tied > 0 else tied) / spread**0.5 if spread else 0.0

    def reach(one: float, other: float) -> float:
        return max(0.0, one**2 - 2 * phi * one * other + other**2) ** 0.5

    gap = (gained - lost) / n
    return gap - reach(after - low_a, high_b - before), gap + reach(high_a - after, before - low_b)


def paired(gained: int, lost: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Ends of an interval of (gained − lost)/n that serves as a test; to show a difference, take `paired_difference`.

    gained: items that only the second has, lost: only the first. Exact (Clopper and Pearson) given how many differ, so
    it excludes 0 exactly when the two-sided exact test of McNemar rejects, and never reaches beyond the share of those
    that differ; NaN where n is 0.

    >>> [round(end, 4) for end in paired(5, 0, 10)], [round(end, 4) for end in paired(6, 0, 10)]
    ([-0.0218, 0.5], [0.0489, 0.6])
    """
    if not n:
        return float("nan"), float("nan")
    differing, tail = gained + lost, (1 - level) / 2
    low = float(betaincinv(gained, lost + 1, tail)) if gained else 0.0
    high = float(betaincinv(gained + 1, lost, 1 - tail)) if lost else 1.0
    return (2 * low - 1) * differing / n + 0.0, (2 * high - 1) * differing / n + 0.0  # no negative zero


def normal(value: float, stderr: float, level: float = LEVEL) -> tuple[float, float]:
    """value ± z·stderr."""
    half = float(ndtri(0.5 + level / 2)) * stderr
    return value - half, value + half


def resamples(n: int, repeats: int, root: int, *names: object) -> np.ndarray:
    """Indices (repeats, n) drawn with replacement from n items, a pure function of (root, names)."""
    return seeds.generator(root, "bootstrap", *names).integers(0, n, (repeats, n))


def weights(n: int, repeats: int, root: int, *names: object) -> np.ndarray:
    """How often each of n items occurs in each resample, (repeats, n): the same draws as `resamples`."""
    drawn = resamples(n, repeats, root, *names) + n * np.arange(repeats)[:, None]
    return np.bincount(drawn.ravel(), minlength=repeats * n).reshape(repeats, n)


def percentile(draws: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """Ends of the percentile interval of bootstrap draws."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap(
    values: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], root: int, *names: object, repeats: int = 1000
) -> tuple[float, float, float]:
    """Standard error and percentile interval of `statistic` of `values` (n, ...).

    `statistic` maps (repeats, n, ...) to (repeats,) in one call. Values should come in the order of their ids, because
    the draws go by position. NaN where n is 0.
    """
    if not len(values):
        return float("nan"), float("nan"), float("nan")
    draws = statistic(values[resamples(len(values), repeats, root, *names)])
    return float(draws.std(ddof=1)), *percentile(draws)
