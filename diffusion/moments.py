"""Mean and covariance of features from sums, and the Fréchet distance between two Gaussians."""

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Moments:
    """Sums over n features of width d: sets are joined and taken out of one another without their features."""

    n: int
    total: Float[np.ndarray, " d"]
    outer: Float[np.ndarray, "d d"]

    @classmethod
    def of(cls, features: Float[np.ndarray, "n d"]) -> Self:
        """Sums of some features, in float64."""
        x = features.astype(np.float64)
        return cls(len(x), x.sum(0), x.T @ x)

    def __add__(self, other: Self) -> Self:
        return type(self)(self.n + other.n, self.total + other.total, self.outer + other.outer)

    def __sub__(self, other: Self) -> Self:
        return type(self)(self.n - other.n, self.total - other.total, self.outer - other.outer)

    @property
    def mean(self) -> Float[np.ndarray, " d"]:
        """Mean feature."""
        return self.total / self.n

    @property
    def covariance(self) -> Float[np.ndarray, "d d"]:
        """Unbiased covariance (divided by n - 1), as np.cov gives it; n must be at least 2."""
        centred = self.outer - np.outer(self.total, self.total) / self.n
        return (centred + centred.T) / (2 * (self.n - 1))

    @cached_property
    def root(self) -> Float[np.ndarray, "d d"]:
        """Symmetric square root of the covariance, found once: the real pictures of a request serve many methods."""
        values, vectors = np.linalg.eigh(self.covariance)
        return (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T


def frechet(one: Moments, two: Moments) -> float:
    """|m1 - m2|² + Tr(C1 + C2 - 2 (C1 C2)^½), never below 0; equal sets give 0 to rounding.

    The trace of the root is that of (C2^½ C1 C2^½)^½, which is symmetric: two eigen-decompositions in place of a
    general matrix root (equal to 1e-8 relative, also where there are fewer features than dimensions; diffusion 1.5).
    """
    gap = one.mean - two.mean
    c1, c2 = one.covariance, two.covariance
    inner = two.root @ c1 @ two.root
    trace_root = np.sqrt(np.clip(np.linalg.eigvalsh((inner + inner.T) / 2), 0, None)).sum()
    return float(max(0.0, gap @ gap + np.trace(c1) + np.trace(c2) - 2 * trace_root))


def kernel_distance(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"]) -> float:
    """Squared maximum mean discrepancy, unbiased, with KID's kernel (x·y / d + 1)³; n and m at least 2."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    d, n, m = x.shape[1], len(x), len(y)
    kxx, kyy, kxy = ((a @ b.T / d + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    within = (kxx.sum() - np.trace(kxx)) / (n * (n - 1)) + (kyy.sum() - np.trace(kyy)) / (m * (m - 1))
    return float(within - 2 * kxy.mean())
