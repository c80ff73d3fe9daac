"""A gradient moved as little as possible so that it works against none of the remembered ones (GEM)."""

import numpy as np
from jaxtyping import Float


def cone_weights(
    products: Float[np.ndarray, "memory memory"], slopes: Float[np.ndarray, " memory"], margin: float
) -> Float[np.ndarray, " memory"]:
    """v minimising ½ vᵀPv + qᵀv with v ≥ margin; the projected gradient is g + Σ v_i m_i.

    products: P, inner products of the memories m, positive definite; slopes: q = ⟨m_i, g⟩. Source: Lopez-Paz and
    Ranzato 2017, equation 12, with the margin of their code. Solved as non-negative least squares in v − margin.
    """
    from scipy.optimize import nnls

    root = np.linalg.cholesky(products)
    aim = -np.linalg.solve(root, slopes + products @ np.full(len(slopes), margin))
    return nnls(root.T, aim)[0] + margin
