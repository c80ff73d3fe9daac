import numpy as np
import pytest
import torch
from mmunlearn.diffusion.methods._base_weights import BaseWeights
from mmunlearn.diffusion.methods._draws import draws_of, normal
from mmunlearn.diffusion.methods._partial_sampling import partial_samples, random_stops
from mmunlearn.diffusion.methods.esd import Esd, esd_target
from mmunlearn.diffusion.sampler import walk

from mmunlearn.errors import UserError
from mmunlearn.handle import View
from mmunlearn.phases import Step


def concept_batch(handle, splits):
    examples = splits["concept"].examples
    return handle.collate(examples, View(0, np.arange(len(examples))))


def test_target_points_away_from_the_concept(handle, splits):
    prompt = splits["concept"][0].prompt
    c, empty = handle.encode([prompt]), handle.unconditional([""])
    x, t = torch.randn(1, *handle.latent_shape(), generator=torch.Generator().manual_seed(1)), torch.tensor([500])
    with torch.no_grad():
        named, plain = handle.predict(x, t, c), handle.predict(x, t, empty)
        paper = esd_target(handle, x, t, (c, empty, empty), 1.0)
        assert torch.allclose(plain - 1.0 * (named - plain), paper, atol=1e-5)
        # The later script starts at the concept, so its eta is larger by one.
        assert torch.allclose(paper, esd_target(handle, x, t, (c, empty, c), 2.0), atol=1e-5)
        other = handle.encode([splits["concept"][0].target])
        surrogate = handle.predict(x, t, other) - 0.5 * (named - plain)
        assert torch.allclose(surrogate, esd_target(handle, x, t, (c, empty, other), 0.5), atol=1e-5)


def test_partial_samples_are_stops_of_the_sampler_walk(handle, splits):
    batch = concept_batch(handle, splits)
    draws = draws_of(batch, 0, "x")
    stops, noise = torch.tensor([[3, 0], [1, 2]]), normal(draws, handle.latent_shape())
    condition, empty = handle.condition(batch), handle.unconditional([""] * 2)
    with torch.no_grad():
        found, t = partial_samples(handle, noise, stops, (condition, empty), steps=5, scale=3.0)
        for row in range(2):
            solver = handle.schedule.solver("ddim", 5)
            alone = (condition.index([row]), empty.index([row]))
            seen = {i: (time, x) for i, time, x in walk(handle, solver, noise[row : row + 1], alone, 3.0)}
            for column in range(2):
                time, x = seen[int(stops[row, column])]
                assert float(time) == float(t[row, column])
                assert torch.allclose(x[0], found[row, column], atol=1e-5)


def test_stop_behind_the_trajectory_is_refused(handle, splits):
    condition = handle.encode(["a"])
    with pytest.raises(UserError, match="no step 5"):
        partial_samples(handle, torch.zeros(1, *handle.latent_shape()), torch.tensor([[4]]), (condition, condition),
                        steps=4, scale=1.0)  # fmt: skip


@pytest.mark.parametrize("start", ["empty", "concept", "surrogate"])
def test_loss_is_that_of_single_trajectories(handle, splits, run, start):
    method = Esd({"walk_steps": 4, "stops": 2, "trains": "u", "start": start, "eta": 0.7})
    method.prepare(handle, splits, run)
    draw = torch.Generator().manual_seed(2)
    original = handle.copy()
    with torch.no_grad():
        for name, parameter in handle.module.named_parameters():
            if name in method._names:
                parameter.add_(torch.randn(parameter.shape, generator=draw) * 0.02)
    batch = concept_batch(handle, splits)
    term = method._terms(handle, {"concept": batch}, Step("esd", 0, 0, 1, 1, 0))["esd"]
    total = 0.0
    with torch.no_grad():
        for example, draws in zip(splits["concept"], draws_of(batch, 0, "esd"), strict=True):
            stops = random_stops([draws], 4, 2)[0].tolist()
            noise = normal([draws], handle.latent_shape())
            named, empty = handle.encode([example.prompt]), handle.unconditional([""])
            asked = handle.encode([example.target]) if start == "surrogate" else named
            for i, time, x in walk(handle, handle.schedule.solver("ddim", 4), noise, (asked, empty), 3.0):
                if i in stops:
                    e = {k: original.predict(x, time, cond) for k, cond in (("c", named), ("0", empty), ("s", asked))}
                    base = {"empty": e["0"], "concept": e["c"], "surrogate": e["s"]}[start]
                    y = base - 0.7 * (e["c"] - e["0"])
                    total += float((handle.predict(x, time, asked) - y).square().sum())
    assert 0.5 == term.weight
    assert total == pytest.approx(float(term.sum.detach()), rel=1e-4)


def test_base_weights_are_the_originals_and_leave_no_graph(handle, splits):
    names = {name for name, _ in handle.trainable()}
    base = BaseWeights(handle, names)
    x, t, c = torch.ones(1, *handle.latent_shape()), torch.tensor([10]), handle.encode(["a"])
    before = handle.predict(x, t, c).detach()
    with torch.no_grad():
        for _, parameter in handle.trainable():
            parameter.mul_(1.1)
    with base.inside(handle):
        inside = handle.predict(x, t, c)
    assert torch.equal(before, inside)
    assert not inside.requires_grad
    assert not torch.equal(before, handle.predict(x, t, c))


@pytest.mark.parametrize(
    ("trains", "wanted", "unwanted"),
    [("x", ".attn2.", "attn1"), ("x-strict", ".attn2.to_", ".attn2.to_q"), ("u", "attn1", ".attn2."),
     ("noxattn", "norm1", "conv_out"), ("all", "conv_in", "norm"), ("full", "norm1", "text_encoder"),
     ("selfattn", ".attn1.", "attn2")],
)  # fmt: skip
def test_only_the_named_group_is_trained(handle, splits, run, trains, wanted, unwanted):
    method = Esd({"trains": trains, "steps": 1, "walk_steps": 2, "optimiser": {"name": "sgd", "lr": 0.1}})
    before = {name: p.detach().clone() for name, p in handle.module.named_parameters()}
    method.apply(handle, splits, run)
    changed = [name for name, p in handle.module.named_parameters() if not torch.equal(before[name], p)]
    assert any(wanted in name for name in changed)
    assert not any(unwanted in name for name in changed)


def test_wording_uses_tags(handle, splits, run):
    method = Esd({"wording": "{phrase} Style"})
    method.prepare(handle, splits, run)
    stream = method.phases(handle, splits, run)[0].streams["concept"]
    assert {"Van Gogh Style"} == {example.prompt for example in stream.split}
    assert {"Photo Style"} == {example.target for example in stream.split}
    with pytest.raises(UserError, match="cannot be filled in"):
        Esd({"wording": "{artist}"}).phases(handle, splits, run)
