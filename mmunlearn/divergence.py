"""Distances between output distributions: Jensen-Shannon as it should be and as two references compute it."""

import numpy as np

FLOOR = 1e-8  # LoTUS clamps probabilities here


def js(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Jensen-Shannon divergence over the last axis, nats, 0 … ln 2; rows of p and q sum to 1.

    >>> float(js(np.array([1.0, 0.0]), np.array([0.0, 1.0])).round(4))
    0.6931
    """
    middle = (p + q) / 2
    return (_kl(p, middle) + _kl(q, middle)) / 2


def _kl(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(p > 0, p * (np.log(p) - np.log(q)), 0.0).sum(-1)


def swapped_js(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """½KL(m‖p) + ½KL(m‖q) over the last axis: the arguments swapped, hence unbounded (ZRF and LoTUS as coded)."""
    middle = (p + q) / 2
    return (_kl(middle, p) + _kl(middle, q)) / 2


def lotus_js(p: np.ndarray, q: np.ndarray) -> float:
    """JSD of (n, classes) outputs as LoTUS computes it: clamped, divided by the matrix's total, swapped, mean over n.

    It shrinks with n, so values of splits of different size cannot be compared. Rounded to six digits as there.
    """
    p, q = np.maximum(p, FLOOR), np.maximum(q, FLOOR)
    return round(float(swapped_js(p / p.sum(), q / q.sum()).sum() / len(p)), 6)
