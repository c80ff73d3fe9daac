"""Batch norm over processes, here with one: torch's own batch norm, forward, backward and running averages."""

import pytest
import torch
import torch.distributed as dist
from torch.nn import functional

from mmunlearn.synced_norm import SyncedNorm


@pytest.fixture
def alone(tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("shape", ((6, 4), (3, 4, 5, 5)))
@pytest.mark.parametrize("affine", (True, False))
def test_equals_torchs_batch_norm(shape, affine, alone):
    torch.manual_seed(0)
    results = []
    x = torch.randn(shape)
    weight = torch.randn(shape)
    kind = torch.nn.BatchNorm1d if len(shape) == 2 else torch.nn.BatchNorm2d
    for synced in (False, True):
        layer, seen = kind(4, affine=affine), x.clone().requires_grad_()
        if synced:
            with SyncedNorm():
                out = layer(seen)
        else:
            out = layer(seen)
        (out * weight).sum().backward()
        results.append([out, seen.grad, *layer.state_dict().values(), *(p.grad for p in layer.parameters())])
    for a, b in zip(*results, strict=True):
        assert torch.allclose(a.double(), b.double(), atol=1e-5)


def test_single_precision_statistics_under_autocast(alone):
    layer, x = torch.nn.BatchNorm1d(4), torch.randn(64, 4, dtype=torch.bfloat16) + 100
    with SyncedNorm():
        out = layer(x)
    assert torch.bfloat16 == out.dtype and torch.float32 == layer.running_mean.dtype
    assert torch.allclose(layer.running_mean, 0.1 * x.float().mean(0), rtol=1e-5)


def test_evaluation_mode_and_other_functions_are_left_alone():
    layer, x = torch.nn.BatchNorm1d(4).eval(), torch.randn(5, 4)
    with SyncedNorm():  # no process group is there: a collective would fail
        inside = functional.relu(layer(x))
    assert torch.equal(functional.relu(layer(x)), inside)
