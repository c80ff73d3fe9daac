"""Membership scores of a text from the log-probabilities of its tokens: Min-K, Min-K++, loss by zlib.

Sources: Min-K (Shi et al., 2024), Min-K++ (Zhang et al., 2025), loss by compressed size (Carlini et al., 2021); the
weighted sum over five ratios is FIUBench's (vlm_fiu_mmu_safe.md 1.5).
"""

import math
import zlib
from collections.abc import Iterable, Mapping

import numpy as np

from mmunlearn.records import Rows

RATIO_WEIGHTS: Mapping[float, float] = {0.1: 0.3, 0.2: 0.3, 0.3: 0.2, 0.4: 0.1, 0.5: 0.1}


def token_lists(column: np.ndarray) -> list[np.ndarray]:
    """A column with one list of numbers a row as vectors; a row without one gives an empty vector."""
    if column.dtype != object and column.ndim == 1:
        column = column[:, None]
    return [
        np.empty(0) if values is None or np.ndim(values) == 0 else _finite(np.asarray(values, dtype=np.float64))
        for values in column
    ]


def _finite(values: np.ndarray) -> np.ndarray:
    """The vector, or an empty one where a number is missing."""
    return values if np.isfinite(values).all() else np.empty(0)


def lowest_mean(values: np.ndarray, ratio: float) -> float:
    """Mean of the int(n·ratio) smallest values; NaN where that is none."""
    k = int(len(values) * ratio + 1e-9)  # 0.3 · 10 must be 3
    return float(np.sort(values)[:k].mean()) if k else math.nan


def weighted(values: np.ndarray, *, renormalise: bool, weights: Mapping[float, float] = RATIO_WEIGHTS) -> float:
    """Σ_r w_r · exp(mean of the int(n·r) smallest values); ratios that cover no token drop out.

    renormalise: divide by the weights that are left, so that short texts are not scored lower for being short; FIUBench
    does not. NaN where no ratio covers a token.
    """
    means = {ratio: lowest_mean(values, ratio) for ratio in weights}
    present = [ratio for ratio, mean in means.items() if not math.isnan(mean)]
    if not present:
        return math.nan
    total = sum(weights[ratio] * math.exp(means[ratio]) for ratio in present)
    return total / sum(weights[ratio] for ratio in present) if renormalise else total


def standardised(log_probability: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """(log p - μ) / σ of each token, μ and σ² being those of log p under the model's own distribution; a position that
    allows one token only (σ = 0) gives 0."""
    sigma = np.sqrt(np.maximum(variance, 0.0))
    sure = sigma < 1e-6
    return np.where(sure, 0.0, (log_probability - mean) / np.where(sure, 1.0, sigma))


def standardised_tokens(rows: Rows) -> list[np.ndarray]:
    """`standardised` of the columns token_logprob, token_mu and token_var."""
    columns = [token_lists(rows[name]) for name in ("token_logprob", "token_mu", "token_var")]
    return [
        standardised(*parts) if len({len(part) for part in parts}) == 1 else np.empty(0)
        for parts in zip(*columns, strict=True)
    ]


def zlib_bytes(text: str) -> int:
    """Size of a text's UTF-8 compressed by zlib."""
    return len(zlib.compress(text.encode("utf-8")))


def mean_nll_per_zlib_byte(nll: np.ndarray, count: np.ndarray, target: Iterable[object]) -> np.ndarray:
    """Mean loss a token (nats) by the zlib size of the target in bytes; NaN where one is missing."""
    size = np.asarray([zlib_bytes(text) if isinstance(text, str) and text else math.nan for text in target])
    with np.errstate(invalid="ignore"):
        return nll / np.maximum(count, 1) / size


def of_tokens(rows: Rows) -> dict[str, np.ndarray]:
    """Membership signals that `rows` allow, higher for members: min_k, min_k_pp (both weighted and renormalised) and
    zlib_ratio (negated)."""
    found: dict[str, np.ndarray] = {}
    if "token_logprob" in rows:
        tokens = token_lists(rows["token_logprob"])
        found["min_k"] = np.asarray([weighted(one, renormalise=True) for one in tokens])
        if "token_mu" in rows and "token_var" in rows:
            z = standardised_tokens(rows)
            found["min_k_pp"] = np.asarray([weighted(one, renormalise=True) for one in z])
    if all(name in rows for name in ("nll", "count", "target")) and rows["target"].dtype == object:
        ratio = mean_nll_per_zlib_byte(rows["nll"], rows["count"], rows["target"])
        if not np.isnan(ratio).all():
            found["zlib_ratio"] = -ratio
    return found
