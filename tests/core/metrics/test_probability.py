"""Probability a token and its share among untrue choices, against loops."""

import math

import numpy as np
import pytest

from mmunlearn.metrics.base import Sight
from mmunlearn.metrics.probability import Probability
from mmunlearn.metrics.zlib_ratio import ZlibRatio
from mmunlearn.records import Rows

NLL, COUNT = [3.0, 8.0], [3, 4]
CHOICES, COUNTS = [[1.0, 4.0, 6.0], [2.0, 2.0, 9.0]], [[2, 2, 3], [1, 4, 3]]
OWN_FIRST, FIRSTS = [0.5, 3.0], [[0.2, 1.0, 5.0], [2.0, 0.5, 1.0]]
ROWS = Rows.of(
    [
        {"id": str(i), "nll": NLL[i], "count": COUNT[i], "choices_nll": CHOICES[i], "choices_count": COUNTS[i],
         "target": "x" * (i + 1), "token_logprob": [-OWN_FIRST[i], *[0.0] * (COUNT[i] - 1)],
         "choices_first_nll": FIRSTS[i]}
        for i in range(2)
    ]
)  # fmt: skip


@pytest.mark.parametrize(("divide_by", "without_first"), [("tokens", 0), ("labels", 1)])
def test_equals_the_loop(divide_by, without_first):
    bare, share = [], []
    for i in range(2):
        own = math.exp(-(NLL[i] - without_first * OWN_FIRST[i]) / COUNT[i])
        each = zip(CHOICES[i], COUNTS[i], FIRSTS[i], strict=True)
        untrue = [math.exp(-(n - without_first * f) / c) for n, c, f in each][1:]
        bare.append(own)
        share.append(own / (own + sum(untrue)))
    settings = {"divide_by": divide_by}
    assert np.mean(bare) == pytest.approx(Probability(settings).reduce(Sight(ROWS)).value)
    among = Probability({**settings, "among": "choices"}).reduce(Sight(ROWS))
    assert np.mean(share) == pytest.approx(among.value)


def test_zlib_ratio_divides_the_loss_a_token_by_the_compressed_bytes():
    import zlib

    expected = [NLL[i] / COUNT[i] / len(zlib.compress(b"x" * (i + 1))) for i in range(2)]
    assert np.mean(expected) == pytest.approx(ZlibRatio().reduce(Sight(ROWS)).value)
