"""Membership signals: one number an example, from the logits of one forward pass; always HIGHER = more like a member.

Sources: TDDBench for the formulas; stable forms are ours: `log p - log(1 - p)` of the true class is `z_y - logsumexp of
the others`, which needs no clamp. Several items (labels, tokens) of an example are averaged; a label (one logit) counts
as a two-class item with logits (0, z), which gives the binary version of every formula.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from mmunlearn.records import Rows
from mmunlearn.token_signals import of_tokens


class Answers(NamedTuple):
    """Rows as arrays: logits (n, item, vocab) float64, target (n, item), mask (n, item) = items that count."""

    logits: np.ndarray
    target: np.ndarray
    mask: np.ndarray


def answers(rows: Rows) -> Answers:
    """Columns `logits` and `target` of `rows`; ragged examples are padded, labels become two-class items."""
    logits, present = _padded(rows["logits"], 2)
    target, asked = _padded(rows["target"], 1)
    items = min(logits.shape[1], target.shape[1])
    logits, target, mask = logits[:, :items], target[:, :items], (present[:, :items] & asked[:, :items])
    if logits.shape[-1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=-1)
    known = mask & np.isfinite(target)
    return Answers(logits, np.where(known, target, 0).astype(np.int64), known)


def _padded(column: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """A column of nested lists with `depth` axes after the first, padded with NaN, and the mask of real items."""
    if column.dtype != object and column.ndim == depth + 1:
        return column.astype(np.float64), np.ones(column.shape[:2], dtype=bool)
    if column.dtype != object and column.ndim == depth:  # a bare number or vector an example
        return _padded(column[:, None], depth)
    parts = [np.atleast_1d(np.asarray([] if v is None else v, dtype=np.float64)) for v in column]
    shape = (len(parts), max((len(p) for p in parts), default=0))
    tail = max((p.shape[1:] for p in parts), default=()) if depth == 2 else ()
    array, mask = np.full((*shape, *tail), np.nan), np.zeros(shape, dtype=bool)
    for i, part in enumerate(parts):
        if len(part):
            array[i, : len(part)], mask[i, : len(part)] = part, True
    return array, mask


def signals(rows: Rows) -> dict[str, np.ndarray]:
    """All signals that the columns of `rows` allow, each (n,); NaN where an example was not scored.

    loss (negated nats an item), confidence, correctness, entropy and modified_entropy (negated nats), rescaled_logit,
    logit_difference, last_layer_gradient_norm (column `feature_norm`; negated), gradient_norm (column `grad_norm`, the
    norm over all weights, see `mmunlearn.gradient_norms`; negated); of texts min_k, min_k_pp and zlib_ratio
    (`mmunlearn.token_signals`).
    """
    found: dict[str, np.ndarray] = {}
    if "logits" in rows and "target" in rows and len(rows):
        a = answers(rows)
        found |= of_logits(a)
        if "feature_norm" in rows:
            found["last_layer_gradient_norm"] = last_layer_gradient_norm(rows, a)
    if "nll" in rows:
        found["loss"] = -mean_nll(rows)
    if "grad_norm" in rows:
        found["gradient_norm"] = -rows["grad_norm"].astype(np.float64)
    return found | of_tokens(rows)


def mean_nll(rows: Rows) -> np.ndarray:
    """Negative log-likelihood in nats an item, (n,); for label vectors the mean of the binary cross-entropies."""
    nll = rows["nll"].astype(np.float64)
    return nll / np.maximum(rows["count"], 1) if "count" in rows else nll


def of_logits(a: Answers) -> dict[str, np.ndarray]:
    """The signals that need logits and target only; they share one soft-max."""
    log_p, log_rest = log_probabilities(a.logits)
    p = np.exp(log_p)
    own = a.target[..., None]
    log_own = np.take_along_axis(log_p, own, -1)[..., 0]
    rest_own = np.take_along_axis(log_rest, own, -1)[..., 0]
    with np.errstate(invalid="ignore"):
        plogp = np.where(p > 0, p * log_p, 0.0)
        spread = np.where(p > 0, p * log_rest, 0.0)  # p_j log(1 - p_j)
        wrong = np.exp(rest_own)
        mentr = np.where(wrong > 0, wrong * log_own, 0.0) + spread.sum(-1) - np.take_along_axis(spread, own, -1)[..., 0]
    best_other = _without(a.logits, own).max(-1)
    z_own = np.take_along_axis(a.logits, own, -1)[..., 0]
    per_item = {
        "loss": log_own,
        "confidence": np.exp(log_own),
        "correctness": (a.logits.argmax(-1) == a.target).astype(np.float64),
        "entropy": plogp.sum(-1),
        "modified_entropy": mentr,
        "rescaled_logit": log_own - rest_own,
        "logit_difference": z_own - best_other,
    }
    valid = np.isfinite(a.logits).all(-1) | ~a.mask
    return {name: mean_over_items(values, a.mask, valid) for name, values in per_item.items()}


def log_probabilities(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log p_j and log(1 - p_j) of every class, both exact where p_j is near 0 and near 1. logits (..., vocab)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        best = logits.argmax(-1)[..., None]
        others = _without(logits, best)
        top, peak = np.take_along_axis(logits, best, -1), others.max(-1, keepdims=True)
        summed = peak + np.log(np.exp(others - peak).sum(-1, keepdims=True))
        excess = np.log1p(np.exp(summed - top))  # logsumexp of all, above the largest
        log_p = logits - top - excess
        log_rest = np.where(log_p > -0.5, np.log(-np.expm1(log_p)), np.log1p(-np.exp(log_p)))
        # 1 - p loses its digits only for the largest class; there the others are summed instead.
        np.put_along_axis(log_rest, best, summed - top - excess, -1)
    return log_p, log_rest


def last_layer_gradient_norm(rows: Rows, a: Answers) -> np.ndarray:
    """Negated norm of the gradient of the example's summed loss by the last linear layer's weights and bias.

    Closed form: ‖p - e_y‖·‖(h, 1)‖ with h the layer's input, whose norm is the column `feature_norm`; exact for one
    head (one class or a label vector). The other layers do not enter: it is not the gradient norm of the network.
    """
    norm = rows["feature_norm"].astype(np.float64)
    log_p, _ = log_probabilities(a.logits)
    error = np.exp(log_p)
    np.put_along_axis(error, a.target[..., None], np.take_along_axis(error, a.target[..., None], -1) - 1, -1)
    if rows["logits"].dtype != object and rows["logits"].shape[-1] == 1:
        error = error[..., 1:]  # a label's own logit; the constant 0 beside it has no weights
    squared = np.where(a.mask, (error**2).sum(-1), 0.0).sum(-1)
    return -np.sqrt(squared) * np.sqrt(norm**2 + 1)


def mean_over_items(values: np.ndarray, mask: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Mean of (n, item) values over the items that count; NaN where none counts or one could not be scored."""
    count = mask.sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(mask, values, 0.0).sum(-1) / count
    return np.where((count > 0) & valid.all(-1), mean, np.nan)


def _without(logits: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Logits with the class at `index` (..., 1) set to -inf."""
    masked = logits.copy()
    np.put_along_axis(masked, index, -np.inf, -1)
    return masked


def probabilities(rows: Rows) -> np.ndarray:
    """Output probabilities (n, item, vocab) of `rows`; labels give (1 - p, p)."""
    return np.exp(log_probabilities(answers(rows).logits)[0])


def both(rows: Rows, against: Rows) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Signals that members' and non-members' rows share, as (members, others)."""
    inside, outside = signals(rows), signals(against)
    return {name: (inside[name], outside[name]) for name in inside if name in outside}


SIGNALS: Mapping[str, str] = {
    "loss": "negated nats an item",
    "confidence": "probability of the target",
    "correctness": "share of right items",
    "entropy": "negated entropy, nats",
    "modified_entropy": "negated modified entropy (Song and Mittal), nats",
    "rescaled_logit": "log p_y - log(1 - p_y)",
    "logit_difference": "z_y - largest other logit",
    "last_layer_gradient_norm": "negated norm of the last layer's gradient, closed form",
    "gradient_norm": "negated norm of the gradient by all weights, where rows carry it",
    "min_k": "texts: weighted Min-K over the ratios 0.1 to 0.5, renormalised",
    "min_k_pp": "texts: the same of standardised token log-probabilities (Min-K++)",
    "zlib_ratio": "texts: negated loss a token by compressed size in bytes",
}
