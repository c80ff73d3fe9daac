"""Relearning against a plain training loop; the held-out part; epochs to the original's accuracy."""

import numpy as np
import pytest
import torch

from mmunlearn.attacks.base import Metered
from mmunlearn.attacks.relearn import Relearn, anamnesis, recovery_goal, relearn_epochs
from mmunlearn.data import Role, Split
from mmunlearn.errors import UserError
from mmunlearn.handle import Decoding, weights_digest
from mmunlearn.order import Order
from mmunlearn.run import Run
from mmunlearn.testing.tiny import TinyHandle, TinySettings, memorise, tiny_splits


def _scratch(tmp_path, seed=0):
    return Run.scratch(tmp_path / "target", seed, device="cpu")


def _plain_steps(handle, examples, steps, *, lr, momentum, batch, seed, clip=1.0):
    """SGD with momentum on clipped gradients written out, over the engine's order of the attacker's examples."""
    order = Order(len(examples), seed, "relearn")
    parameters = [p for p in handle.module.parameters() if p.requires_grad]
    speed = [torch.zeros_like(p) for p in parameters]
    per_epoch = -(-len(examples) // batch)
    for index in range(steps):
        epoch, step = divmod(index, per_epoch)
        chosen = [examples[int(i)] for i in order.epoch(epoch)[step * batch : (step + 1) * batch]]
        scored = handle.score(handle.collate(chosen))
        gradients = torch.autograd.grad(scored.nll.sum() / len(chosen), parameters)
        length = torch.sqrt(sum((g**2).sum() for g in gradients))
        gradients = [g * min(1.0, clip / length) for g in gradients]
        with torch.no_grad():
            for i, (parameter, gradient) in enumerate(zip(parameters, gradients, strict=True)):
                speed[i] = momentum * speed[i] + gradient
                parameter -= lr * speed[i]
    return handle


@pytest.mark.parametrize("clip", [0, 0.3])
def test_budgets_are_points_of_one_trajectory_equal_to_a_plain_loop(tmp_path, clip):
    data, handle = tiny_splits(forget=10), TinyHandle(seed=5)
    optimiser = {"lr": 0.1, "momentum": 0.9}
    attack = Relearn(
        {"steps": (0, 1, 4, 7), "examples": 6, "batch_size": 4, "optimiser": optimiser, "clip_norm": clip or None}
    )
    run = _scratch(tmp_path, seed=3)
    used = set(attack.parts(data, 3)["forget_trained"])
    examples = [e for e in data["forget"] if e.id in used]
    seen = {}
    for label, tampered in attack.tamper(handle.copy(), data, run):
        seen[label] = [p.detach().clone() for p in tampered.module.parameters()]
    assert ["0 steps", "1 step", "4 steps", "7 steps"] == list(seen)
    for steps in (0, 1, 4, 7):
        expected = _plain_steps(handle.copy(), examples, steps, lr=0.1, momentum=0.9, batch=4, seed=3, clip=clip or 1e9)
        label = "1 step" if steps == 1 else f"{steps} steps"
        for slow, fast in zip(expected.module.parameters(), seen[label], strict=True):
            torch.testing.assert_close(slow.detach(), fast, rtol=0, atol=1e-6)


def test_looking_at_budgets_on_the_way_changes_no_bit_of_the_last(tmp_path):
    data, handle = tiny_splits(), TinyHandle(seed=5)
    last = []
    for steps in ((9,), (0, 2, 3, 9)):
        for _, tampered in Relearn({"steps": steps, "batch_size": 4}).tamper(handle.copy(), data, _scratch(tmp_path)):
            end = weights_digest(tampered.module)
        last.append(end)
    assert last[0] == last[1]


def test_never_touches_the_targets_weights_or_checkpoints(tmp_path):
    data, handle, run = tiny_splits(), TinyHandle(), _scratch(tmp_path)
    run.save(5, {"position": [0, 5], "done_steps": 5, "module": {}, "optimisers": {}, "method": {}})
    files = {p: p.read_bytes() for p in run.path.rglob("*") if p.is_file()}
    before = weights_digest(handle.module)
    list(Relearn({"steps": (0, 3)}).run(handle, data, run, Decoding()))
    assert before == weights_digest(handle.module)
    assert files == {p: p.read_bytes() for p in run.path.rglob("*") if p.is_file()}


def test_parts_split_the_forget_set_by_seed():
    data = tiny_splits(forget=12)
    attack = Relearn({"examples_frac": 0.25})
    parts = attack.parts(data, 1)
    assert (3, 9) == (len(parts["forget_trained"]), len(parts["forget_held_out"]))
    assert set(data["forget"].ids) == {*parts["forget_trained"], *parts["forget_held_out"]}
    assert parts == attack.parts(data, 1)
    assert parts != attack.parts(data, 2)


def test_benign_relearning_trains_on_no_forget_example(tmp_path):
    data = tiny_splits()
    attack = Relearn({"data": "retain", "steps": (1,)})
    assert ("forget", "retain") == attack.needed()
    assert () == attack.parts(data, 0)["forget_trained"]
    assert all("/retain/" in e.id for e in attack._training(data, 0))
    assert 12 == len(Relearn({"data": ("forget", "retain")})._training(data, 0))
    assert 1 == len(list(attack.run(TinyHandle(), data, _scratch(tmp_path), Decoding())))


def test_a_missing_benign_split_is_named(tmp_path):
    data = {"forget": tiny_splits()["forget"]}
    with pytest.raises(UserError, match="needs split 'neighbour'"):
        list(Relearn({"data": ["forget", "neighbour"]}).run(TinyHandle(), data, _scratch(tmp_path), Decoding()))


def test_cost_is_one_gradient_step_and_a_query_an_example(tmp_path):
    data = tiny_splits(forget=8)
    attack = Relearn({"steps": (0, 1, 5), "examples_frac": 1.0, "batch_size": 8})
    spent = [
        (c.queries, c.gradient_steps) for _, c, _ in attack.run(TinyHandle(), data, _scratch(tmp_path), Decoding())
    ]
    assert [(0, 0), (8, 1), (40, 5)] == spent


def test_stored_budgets_are_passed_over_and_later_ones_stay_equal(tmp_path):
    data, handle = tiny_splits(), TinyHandle(seed=2)
    attack = Relearn({"steps": (0, 2, 6)})
    whole = {b: r for b, _, r in attack.run(handle, data, _scratch(tmp_path), Decoding())}
    rest = {b: r for b, _, r in attack.run(handle, data, _scratch(tmp_path), Decoding(), have={"0 steps", "2 steps"})}
    assert ["6 steps"] == list(rest)
    assert whole["6 steps"] == rest["6 steps"]


def test_works_through_a_meter_and_with_batch_norm(tmp_path):
    data = tiny_splits()
    handle = Metered(memorise(TinyHandle(TinySettings(batch_norm=True)), data["train"], steps=20), Relearn.access)
    stored = handle.module[1].running_mean.clone()
    for _, tampered in Relearn({"steps": (3,)}).tamper(handle, data, _scratch(tmp_path)):
        assert torch.equal(stored, tampered.module[1].running_mean)  # norm: frozen
    assert 3 == handle.cost.gradient_steps


def _accuracy(handle, split):
    rows = handle.respond(split.examples, Decoding(), 0)
    return np.mean([int(np.argmax(r.fields["logits"][0]) == r.fields["target"][0]) for r in rows])


def test_relearn_epochs_is_the_first_epoch_that_reaches_the_goal(tmp_path):
    forget, handle, run = tiny_splits()["forget"], TinyHandle(seed=1), _scratch(tmp_path)
    config = Relearn.Config(optimiser={"lr": 0.1, "momentum": 0.9}, batch_size=5)
    goal = 0.9
    epochs = relearn_epochs(handle, forget, run, goal_accuracy=goal, config=config)
    per_epoch = -(-len(forget) // 5)

    def after(n):
        copy = _plain_steps(handle.copy(), list(forget), n * per_epoch, lr=0.1, momentum=0.9, batch=5, seed=0)
        return _accuracy(copy, forget)

    assert 1 < epochs < 100
    assert after(epochs - 1) < goal <= after(epochs)
    assert 0 == relearn_epochs(handle, forget, run, goal_accuracy=0.0, config=config)
    assert 2 == relearn_epochs(handle, forget, run, goal_accuracy=1.1, config=config, limit=2)


def test_anamnesis_and_its_goal_are_the_sheets_formulas():
    assert pytest.approx(5.01 / 10.01) == anamnesis(5, 10)
    assert 1.0 == anamnesis(7, 7)
    assert pytest.approx(0.855) == recovery_goal(0.9)


def test_a_model_that_only_hides_comes_back_faster_than_one_that_never_saw(tmp_path):
    data, run = tiny_splits(), _scratch(tmp_path)
    original = memorise(TinyHandle(seed=0), data["train"])
    hiding = original.copy()
    with torch.no_grad():
        hiding.module[-1].bias[0] += 20.0  # answers class 0 always
    never = memorise(TinyHandle(seed=1), data["retain"])
    attack = Relearn({"steps": (8,), "optimiser": {"lr": 0.05, "momentum": 0.9}, "clip_norm": None})
    held_out = set(attack.parts(data, 0)["forget_held_out"])
    part = Split("held", Role.FORGET, tuple(e for e in data["forget"] if e.id in held_out))

    def recovered(handle):
        ((_, tampered),) = attack.tamper(handle.copy(), data, run)
        return _accuracy(tampered, part)

    assert _accuracy(hiding, part) < 0.5
    assert recovered(hiding) > recovered(never)


def test_the_default_leaves_a_model_that_knows_everything_as_it_is(tmp_path):
    """A default that destroys what the model holds would pass every incomplete forgetting for a complete one."""
    data, run = tiny_splits(), _scratch(tmp_path)
    original = memorise(TinyHandle(seed=0), data["train"])
    for label, tampered in Relearn().tamper(original.copy(), data, run):
        for name in ("forget", "retain"):
            assert _accuracy(tampered, data[name]) >= _accuracy(original, data[name]) - 0.1, (label, name)
    assert "64 steps" == label


def test_the_default_survives_a_model_with_steep_gradients_that_unclipped_steps_blow_up(tmp_path):
    data = tiny_splits()
    steep = memorise(TinyHandle(seed=1), data["retain"])
    with torch.no_grad():
        steep.module[-1].weight *= 300
    budgets = list(Relearn().run(steep, data, _scratch(tmp_path), Decoding()))
    assert 5 == len(budgets)
    assert all(np.isfinite(r.fields["nll"]) for r in budgets[-1][2]["forget"])
    wild = Relearn({"clip_norm": None, "optimiser": {"lr": 1e30}})
    with pytest.raises(UserError, match=r"(?s)attack 'relearn' diverged .*Lower relearn.optimiser.lr \(now 1e\+30\)"):
        list(wild.run(steep, data, _scratch(tmp_path), Decoding()))
