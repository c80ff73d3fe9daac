"""Double precision: what a run computes in, and that everything is as before outside."""

import pytest
import torch
from torch import nn

from mmunlearn.engine import Engine
from mmunlearn.phases import Optimiser, Phase, Stream, Term
from mmunlearn.precision import doubled_inputs, working
from mmunlearn.run import Run
from mmunlearn.testing.tiny import TinyHandle, tiny_splits


def test_whoever_asks_for_single_gets_double_and_only_inside():
    module = nn.Linear(3, 2)
    with working(module, "double"):
        kinds = [
            module(torch.ones(1, 3)).float().dtype, torch.ones(2, dtype=torch.uint8).to(torch.float32).dtype,
            torch.zeros(2, dtype=torch.float32).dtype, torch.tensor([0.5]).dtype,
        ]  # fmt: skip
        assert torch.float64 == module.weight.dtype
    assert {torch.float64} == set(kinds)
    assert torch.float32 == module.weight.dtype == torch.tensor([0.5]).dtype == torch.zeros(2).double().float().dtype


def test_inputs_made_of_arrays_fit_the_weights():
    module, x = nn.Conv2d(1, 1, 1), torch.from_numpy(torch.rand(1, 1, 2, 2).numpy())
    with working(module, "double"):
        assert torch.float64 == module(x).dtype
    assert torch.float32 == module(x).dtype
    kinds = {name: t.dtype for name, t in doubled_inputs({"x": x, "i": torch.arange(2)}).items()}
    assert {"x": torch.float64, "i": torch.int64} == kinds


def test_other_precisions_and_nested_uses_change_nothing():
    module = nn.BatchNorm1d(2)
    with working(module, "no"):
        assert torch.float32 == module.weight.dtype
    with working(module, "double"):
        with working(module, "double"):
            pass
        assert torch.float64 == module.running_mean.dtype and torch.int64 == module.num_batches_tracked.dtype
    assert torch.float32 == module.running_mean.dtype


def test_new_layers_start_from_the_weights_of_single_precision():
    made = {}
    for precision in ("no", "double"):
        torch.manual_seed(0)
        with working(nn.Linear(1, 1), precision):
            torch.manual_seed(0)
            layer = nn.Conv2d(3, 4, 3)
            nn.init.kaiming_normal_(layer.weight)
        made[precision] = layer
    assert torch.float64 == made["double"].weight.dtype
    for one, other in zip(made["no"].parameters(), made["double"].parameters(), strict=True):
        assert torch.allclose(one.double(), other, atol=1e-7)


def test_the_type_comes_back_after_an_error():
    module = nn.Linear(2, 2)
    with pytest.raises(ZeroDivisionError), working(module, "double"):
        _ = 1 / 0
    assert torch.float32 == module.weight.dtype == torch.get_default_dtype()


def test_a_run_in_double_is_the_run_in_single_but_for_rounding(tmp_path):
    splits, handles = tiny_splits(), {}
    for precision in ("no", "double"):
        seen = set()

        def terms(handle, batches, step, seen=seen):
            scored = handle.score(batches["retain"])
            seen.add(scored.nll.dtype)
            return {"ce": Term(scored.nll.sum(), "retain")}

        handle = TinyHandle(seed=0)
        phase = Phase(
            name="main", streams={"retain": Stream(splits["retain"], 8)}, driver="retain", terms=terms, epochs=2,
            spec=Optimiser(lr=0.05, momentum=0.9),
        )  # fmt: skip
        Engine(handle, Run.scratch(tmp_path / precision, 0, device="cpu", precision=precision)).run([phase])
        assert {torch.float64 if precision == "double" else torch.float32} == seen
        handles[precision] = handle
    for key, tensor in handles["no"].module.state_dict().items():
        other = handles["double"].module.state_dict()[key]
        assert tensor.dtype == other.dtype
        assert torch.allclose(tensor, other, atol=1e-5), key
