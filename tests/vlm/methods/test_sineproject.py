"""SineProject: the weights' form, what is frozen, the fold at the end."""

import math

import pytest
import torch
from mmunlearn.vlm.methods.popd import Popd
from mmunlearn.vlm.methods.sineproject import SineDelta, Sineproject, projector_layers

from mmunlearn.errors import UserError

SETTINGS = {"epochs": 2, "batch_size": 12, "optimiser": {"name": "sgd", "lr": 1.0}}


def test_takes_the_objective_and_its_defaults():
    chosen = Sineproject({"objective": "dpopd", "beta": 0.3})
    assert ("dpo", "example", 0.3) == (chosen.forget_rule(), chosen.config.refusals, chosen.config.beta)
    assert Popd().table() == Sineproject().table()
    assert Popd().required() == Sineproject().required()


@pytest.mark.parametrize("name", ["sineproject", "retrain", "manu"])
def test_what_is_no_objective_is_refused(name):
    with pytest.raises(UserError, match="objective"):
        Sineproject({"objective": name})


def test_starts_at_the_original(task, run):
    handle, splits = task()
    batch = handle.collate(splits["forget"].examples)
    with torch.no_grad():
        before = handle.score(batch).nll
        Sineproject(SETTINGS).prepare(handle, splits, run)
        assert torch.equal(before, handle.score(batch).nll)


def test_weight_is_the_original_plus_the_sine_of_what_was_trained():
    weight = torch.randn(3, 4)
    form = SineDelta(weight)
    with torch.no_grad():
        form.delta.copy_(torch.linspace(-4, 4, 12).view(3, 4))
    pairs = zip(weight.flatten().tolist(), form.delta.flatten().tolist(), strict=True)
    expected = torch.tensor([w + math.sin(d) for w, d in pairs]).view(3, 4)
    torch.testing.assert_close(expected, form(weight).detach())


@pytest.mark.parametrize("lora", [False, True])
def test_result_is_an_ordinary_model_within_one_of_the_original(lora, task, run, tmp_path):
    handle, splits = task()
    if lora:
        handle = handle.adapted({"lora": {"r": 2, "alpha": 4}})
    names = set(handle.module.state_dict())
    before = {path: layer.weight.detach().clone() for path, layer in projector_layers(handle)}
    result = Sineproject(SETTINGS).apply(handle, splits, run)
    assert names == set(result.module.state_dict())
    moved = {path: (layer.weight - before[path]).abs().max().item() for path, layer in projector_layers(result)}
    assert all(0 < move <= 1 for move in moved.values())
    batch = result.collate(splits["forget"].examples)
    with torch.no_grad():
        now = result.score(batch).nll
    result.save(tmp_path / "model")
    loaded = type(result).load(tmp_path / "model")
    with torch.no_grad():
        torch.testing.assert_close(now, loaded.score(batch).nll, rtol=1e-4, atol=1e-4)


def test_original_weight_is_frozen_while_training(task, run):
    handle, splits = task()
    chosen = Sineproject(SETTINGS)
    chosen.prepare(handle, splits, run)
    trained = {name for name, _ in handle.trainable() if "multi_modal_projector" in name}
    assert all("original" not in name for name in trained)
    assert any(name.endswith("delta") for name in trained)


def test_frozen_projector_is_refused(task, run):
    handle, splits = task()
    for _, layer in projector_layers(handle):
        layer.weight.requires_grad_(False)
    with pytest.raises(UserError, match="projector"):
        Sineproject(SETTINGS).prepare(handle, splits, run)
