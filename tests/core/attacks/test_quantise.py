"""Rounding to few bits against a loop over channels and weights."""

import numpy as np
import pytest
import torch
from torch import nn

from mmunlearn.attacks.quantise import Quantise, quantise_weights, quantised
from mmunlearn.handle import weights_digest
from mmunlearn.run import Run
from mmunlearn.testing.tiny import TinyHandle


def _naive(weight: np.ndarray, bits: int) -> np.ndarray:
    """Channel by channel, weight by weight, in float32 as the attack does."""
    top = 2 ** (bits - 1) - 1
    result = np.zeros_like(weight)
    for channel in range(weight.shape[0]):
        largest = np.float32(0)
        for value in weight[channel].flat:
            largest = max(largest, abs(value))
        if largest == 0:
            continue
        scale = np.float32(largest / np.float32(top))
        for index in np.ndindex(weight[channel].shape):
            level = round(float(np.float32(weight[channel][index] / scale)))
            result[channel][index] = np.float32(min(top, max(-top, level))) * scale
    return result


@pytest.mark.parametrize("bits", [8, 4, 2])
@pytest.mark.parametrize("shape", [(5, 7), (3, 2, 3, 3)])
def test_equals_a_loop_over_single_weights(bits, shape):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(bits))
    np.testing.assert_array_equal(_naive(weight.numpy(), bits), quantised(weight, bits).numpy())


def test_a_hand_computed_row():
    # largest 1.4, 4 bits: 7 levels each side, scale .2; .31/.2 = 1.55 -> 2, -.29/.2 = -1.45 -> -1, .1/.2 = .5 -> 0
    row = torch.tensor([[1.4, 0.31, -0.29, 0.0999]])
    assert torch.allclose(torch.tensor([[1.4, 0.4, -0.2, 0.0]]), quantised(row, 4))


def test_an_all_zero_channel_stays_zero():
    assert 0 == int(quantised(torch.zeros(2, 3), 4).count_nonzero())


def test_each_output_channel_has_at_most_the_levels_of_its_bits():
    weight = torch.randn(4, 500, generator=torch.Generator().manual_seed(0))
    assert all(len(row.unique()) <= 15 for row in quantised(weight, 4))


def test_transposed_convolutions_are_scaled_by_their_output_channel():
    layer = nn.ConvTranspose2d(2, 3, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 10.0, 100.0], [0.4, 4.0, 40.0]]).view(2, 3, 1, 1))
    before = layer.weight.detach().clone()
    quantise_weights(layer, 8)
    ratio = (layer.weight.detach() / before).flatten()
    assert torch.allclose(torch.ones(6), ratio, atol=0.01)


def test_one_bit_is_refused():
    with pytest.raises(ValueError, match="at least 2"):
        quantised(torch.ones(1, 1), 1)


def test_both_numbers_of_bits_start_from_the_unrounded_model(tmp_path):
    handle = TinyHandle(seed=0)
    target = weights_digest(handle.module)
    models = dict(Quantise({"bits": (2, 8)}).tamper(handle, {}, Run.scratch(tmp_path)))
    assert ["2 bits", "8 bits"] == list(models)
    weight = handle.module[0].weight.detach()
    np.testing.assert_array_equal(_naive(weight.numpy(), 8), models["8 bits"].module[0].weight.detach().numpy())
    assert target == weights_digest(handle.module)
