"""Min-K++: Min-K of token log-probabilities that are standardised by the model's own distribution."""

import numpy as np

from mmunlearn.metrics.min_k import MinK
from mmunlearn.records import Rows
from mmunlearn.token_signals import standardised_tokens


class MinKPp(MinK):
    """As `min_k`, of (log p - μ) / σ with μ = Σ p log p and σ² = Σ p log² p - μ² at each token (Zhang et al., 2025).

    A position where the model allows one token only (σ = 0) counts as 0. Values may exceed 1.

    >>> names = ("token_logprob", "token_mu", "token_var")
    >>> rows = Rows(("a",), {name: np.full((1, 10), value) for name, value in zip(names, (-2.0, -1.0, 4.0))})
    >>> from mmunlearn.metrics.base import Sight
    >>> round(MinKPp().reduce(Sight(rows)).value, 4)
    0.6065
    """

    unit = "exp of a standard score"
    columns = ("token_logprob", "token_mu", "token_var")  # type: ignore[assignment]

    def tokens(self, rows: Rows) -> list[np.ndarray]:
        """One standard score a token of each row."""
        return standardised_tokens(rows)
