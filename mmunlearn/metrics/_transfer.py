"""The 80/20 division that transfer metrics use: features fit on one part, accuracy measured on the other."""

import numpy as np

from mmunlearn.metrics.base import Sight, scored

SEED = 2  # of the published code


def divide(sight: Sight) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int] | None:
    """(fit features, fit targets, test features, test targets, rows left out); None with fewer than five rows.

    Rows in the order of their ids, permuted as torch's random_split with seed 2 does; four fifths (rounded down) fit.
    """
    import torch

    rows, unscored = scored(sight.rows, "features", "target")
    if len(rows) < 5:
        return None
    rows = rows.sorted()
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(SEED)).numpy()
    cut = int(0.8 * len(rows))
    x, y = rows["features"].astype(np.float64), rows["target"].reshape(len(rows), -1)[:, 0].astype(np.int64)
    return x[order[:cut]], y[order[:cut]], x[order[cut:]], y[order[cut:]], unscored
