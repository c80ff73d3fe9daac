"""The training loop against hand-written loops, and against itself under other cuts, interruptions and accidents."""

import importlib.util
import json
import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from mmunlearn.data import Role, Split
from mmunlearn.engine import Diverged, Engine
from mmunlearn.errors import UserError
from mmunlearn.handle import weights_digest
from mmunlearn.order import Order
from mmunlearn.phases import Optimiser, Phase, Stream, Term
from mmunlearn.run import Run
from mmunlearn.testing.tiny import TinyHandle, TinySettings, tiny_splits

TASKS = ("classes", "labels", "tokens")


def parts(task="classes", **sizes):
    settings = TinySettings(task=task, noise=0.0)
    return TinyHandle(settings), tiny_splits(settings, **sizes)


def cross_entropy(name):
    def terms(handle, batches, step):
        return {name: Term(handle.score(batches[name]).nll.sum(), name)}

    return terms


def difference(handle, batches, step):
    return {
        "retain": Term(handle.score(batches["retain"]).nll.sum(), "retain"),
        "forget": Term(handle.score(batches["forget"]).nll.sum(), "forget.examples", -0.3),
    }


def phase(splits, terms=None, streams=("retain",), size=8, **more):
    made = {n: Stream(splits[n], size if i == 0 else 5) for i, n in enumerate(streams)}
    options = {"name": "main", "spec": Optimiser(lr=0.05)} | more
    return Phase(streams=made, driver=streams[0], terms=terms or cross_entropy("retain"), **options)


def run_of(path, **train):
    return Run.scratch(path, 3, **({"device": "cpu", "log_every": 1} | train))


def trained(path, handle, phases, **train):
    run = run_of(path, **train)
    Engine(handle, run).run(phases if isinstance(phases, list) else [phases])
    return run


def slow_nll(handle, example):
    """One example at a time, item by item, from logits alone: its sum and its number of items."""
    s = handle.settings
    logits = handle.module(torch.tensor([json.loads(example.prompt)]))[0]
    if s.task == "classes":
        return -functional.log_softmax(logits, 0)[example.target], 1
    if s.task == "labels":
        p = torch.sigmoid(logits)
        each = [-torch.log(p[i] if t else 1 - p[i]) for i, t in enumerate(example.target)]
        return sum(each), len(each)
    rows = logits.view(s.items, s.classes)
    return sum(-functional.log_softmax(rows[i], 0)[t] for i, t in enumerate(example.target)), len(example.target)


def distance(one, other):
    a, b = one.module.state_dict(), other.module.state_dict()
    return max((a[name].double() - b[name].double()).abs().max().item() for name in a)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("kind", ("sgd", "adamw"))
def test_equals_a_hand_written_loop(task, kind, tmp_path):
    handle, splits = parts(task)
    twin, retain = handle.copy(), splits["retain"]
    spec = Optimiser(name=kind, lr=0.05, momentum=0.9 if kind == "sgd" else 0.0, weight_decay=0.01)
    rate = lambda step: 1 - step.index / step.total  # noqa: E731
    run = trained(tmp_path, handle, phase(splits, epochs=2, spec=spec, rate=rate, clip_norm=0.5))

    if kind == "sgd":
        optimiser = torch.optim.SGD(twin.module.parameters(), lr=1, momentum=0.9, weight_decay=0.01)
    else:
        optimiser = torch.optim.AdamW(twin.module.parameters(), lr=1, weight_decay=0.01)
    losses, twin_steps = [], 2 * 3
    for index in range(twin_steps):
        order = Order(len(retain), 3, "retain").epoch(index // 3)[index % 3 * 8 : index % 3 * 8 + 8]
        scored = [slow_nll(twin, retain[int(i)]) for i in order]
        loss = sum(nll for nll, _ in scored) / sum(count for _, count in scored)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(twin.module.parameters(), 0.5)
        optimiser.param_groups[0]["lr"] = 0.05 * (1 - index / twin_steps)
        optimiser.step()
        losses.append(loss.item())
    assert losses == pytest.approx([e["terms"]["retain"] for e in run.events("step")], abs=1e-6)
    assert distance(handle, twin) <= 1e-6


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("micro", (1, 2, 4, 7))
def test_micro_batches_do_not_change_the_step(task, micro, tmp_path):
    whole, splits = parts(task, retain=17, forget=11)
    cut = whole.copy()
    p = phase(splits, difference, ("retain", "forget"), epochs=2)  # the last retain batch holds one example
    one = trained(tmp_path / "whole", whole, p)
    two = trained(tmp_path / "cut", cut, p, micro_batch=micro)
    for a, b in zip(one.events("step"), two.events("step"), strict=True):
        assert a["terms"] == pytest.approx(b["terms"], abs=1e-5)
    assert distance(whole, cut) <= 1e-5


def own_count(handle, batches, step):
    """A mean over the items that the model gets wrong: the count is known only after the forward."""
    scored = handle.score(batches["retain"])
    wrong = (scored.logits.argmax(-1) != scored.targets).any(-1).float()
    return {"wrong": Term((scored.nll * wrong).sum(), "", 1.0, wrong.sum())}


def test_a_terms_own_count_divides_over_the_whole_step(tmp_path):
    handle, splits = parts()
    twin, cut = handle.copy(), handle.copy()
    first = phase(splits, own_count, steps=1)
    event = trained(tmp_path / "a", handle, first).events("step")[0]
    order = Order(24, 3, "retain").epoch(0)[:8]
    scored = twin.score(twin.collate([splits["retain"][int(i)] for i in order]))
    wrong = scored.logits[:, 0].argmax(-1) != scored.targets[:, 0]
    loss = scored.nll[wrong].mean()
    loss.backward()
    with torch.no_grad():
        for parameter in twin.module.parameters():
            parameter -= 0.05 * parameter.grad
    assert loss.item() == pytest.approx(event["terms"]["wrong"], abs=1e-6)
    assert distance(handle, twin) <= 1e-6
    trained(tmp_path / "b", cut, first, micro_batch=2)
    assert distance(handle, cut) <= 1e-5


def test_over_names_items_examples_or_nothing_known(tmp_path):
    handle, splits = parts("tokens")

    def terms(handle, batches, step):
        total = handle.score(batches["retain"]).nll.sum()
        return {"items": Term(total, "retain", 0.0), "examples": Term(total, "retain.examples", 0.0)}

    event = trained(tmp_path, handle, phase(splits, terms, size=24, steps=1)).events("step")[0]
    items = sum(len(e.target) for e in splits["retain"])
    assert event["terms"]["examples"] * 24 == pytest.approx(event["terms"]["items"] * items, rel=1e-6)
    for bad in (Term(torch.zeros(()), "elsewhere"), Term(torch.zeros(()), "")):
        with pytest.raises(ValueError, match="term 'x'"):
            trained(tmp_path, handle, phase(splits, lambda *_, bad=bad: {"x": bad}, name="bad"))


def test_combine_receives_each_terms_own_weighted_gradient(tmp_path):
    handle, splits = parts()
    twin, seen = handle.copy(), {}

    def combine(gradients):
        seen.update({name: [g.clone() for g in group] for name, group in gradients.items()})
        return [a - 2 * b for a, b in zip(gradients["retain"], gradients["forget"], strict=True)]

    p = phase(splits, difference, ("retain", "forget"), size=8, steps=1, combine=combine)
    trained(tmp_path, handle, p, micro_batch=3)
    expected = []
    for name, weight, size in (("retain", 1.0, 8), ("forget", -0.3, 5)):
        order = Order(len(splits[name]), 3, name).epoch(0)[:size]
        scored = twin.score(twin.collate([splits[name][int(i)] for i in order]))
        gradient = torch.autograd.grad(weight * scored.nll.sum() / size, list(twin.module.parameters()))
        for mine, theirs in zip(gradient, seen[name], strict=True):
            assert torch.allclose(mine, theirs, atol=1e-6)
        expected.append(gradient)
    with torch.no_grad():
        for parameter, a, b in zip(twin.module.parameters(), *expected, strict=True):
            parameter -= 0.05 * (a - 2 * b)
    assert distance(handle, twin) <= 1e-6


def test_hooks_come_in_order_and_can_end_a_phase(tmp_path):
    handle, splits = parts()
    calls = []
    p = phase(
        splits, epochs=5, size=12,
        adjust=lambda parameters, step: calls.append(("adjust", step.index)),
        after_step=lambda handle, step: calls.append(("after_step", step.index)),
        after_epoch=lambda handle, step: calls.append(("after_epoch", step.epoch)) or step.epoch == 1,
    )  # fmt: skip
    trained(tmp_path, handle, p)
    expected = []
    for epoch in range(2):
        expected += [(hook, 2 * epoch + i) for i in range(2) for hook in ("adjust", "after_step")]
        expected += [("after_epoch", epoch)]
    assert expected == calls


def test_adjust_changes_the_gradient_and_after_step_the_weights(tmp_path):
    handle, splits = parts()
    before = {name: p.detach().clone() for name, p in handle.module.named_parameters()}

    def adjust(parameters, step):
        for name, parameter in parameters.items():
            if not name.startswith("3."):
                parameter.grad.zero_()

    def restore(handle, step):
        with torch.no_grad():
            handle.module[3].bias.copy_(before["3.bias"])

    trained(tmp_path, handle, phase(splits, adjust=adjust, after_step=restore))
    changed = {name for name, p in handle.module.named_parameters() if not torch.equal(p, before[name])}
    assert {"3.weight"} == changed


def test_phases_of_one_optimiser_share_its_state(tmp_path):
    handle, splits = parts()
    twin = handle.copy()
    spec = Optimiser(lr=0.05, momentum=0.9)
    trained(tmp_path, handle, [phase(splits, name=f"p@{i}", spec=spec, size=24) for i in range(2)])
    optimiser = torch.optim.SGD(twin.module.parameters(), lr=0.05, momentum=0.9)
    for _ in range(2):  # one whole-split batch a phase: the order cannot matter
        optimiser.zero_grad()
        twin.score(twin.collate(splits["retain"].examples)).nll.mean().backward()
        optimiser.step()
    assert distance(handle, twin) <= 1e-6


def test_repeated_phases_see_new_orders_and_views(tmp_path):
    _, splits = parts(retain=24, forget=5)
    seen: dict[str, list] = {"retain": [], "forget": []}

    def terms(handle, batches, step):
        for name, batch in batches.items():
            seen[name] += [(i, int(k)) for i, k in zip(batch.ids, batch.view.epochs, strict=True)]
        return cross_entropy("retain")(handle, batches, step)

    phases = [phase(splits, terms, ("retain", "forget"), name=f"main@{i}", epochs=2) for i in range(3)]
    trained(tmp_path, parts()[0], phases)
    for name, views in seen.items():
        assert len(set(views)) == len(views), f"{name}: an example was shown twice in one view"
    assert {i for i, _ in seen["retain"][:24]} == {e.id for e in splits["retain"]}


class Exploding(TinyHandle):
    """From the given forward on the loss is what it is told to be."""

    bad_from = 3
    bad = math.nan
    calls = 0

    def score(self, batch):
        scored = super().score(batch)
        self.calls += 1
        return scored if self.calls <= self.bad_from else scored._replace(nll=scored.nll * self.bad)


@pytest.mark.parametrize("bad", (math.nan, math.inf))
@pytest.mark.parametrize("norm", (False, True))
def test_divergence_stops_at_the_last_finite_step(bad, norm, tmp_path):
    settings = TinySettings(noise=0.0, batch_norm=norm)
    splits, handle, other = tiny_splits(settings), Exploding(settings), Exploding(settings)
    handle.bad, other.bad_from = bad, 10**6
    with pytest.raises(Diverged, match="step 4 of 9") as caught:
        trained(tmp_path / "bad", handle, phase(splits, epochs=3))
    assert 2 == caught.value.exit_code and len(str(caught.value).splitlines()) <= 4
    trained(tmp_path / "good", other, phase(splits, steps=3))
    assert weights_digest(other.module) == weights_digest(handle.module)
    assert ["diverged"] == [e["kind"] for e in run_of(tmp_path / "bad").events("diverged")]


class Greedy(TinyHandle):
    """Runs out of memory when a forward holds more than `room` examples; counts draws from the global generator."""

    room = 2

    def score(self, batch):
        scored = super().score(batch)
        if len(batch) > self.room:
            torch.rand(7)
            raise torch.OutOfMemoryError("out of memory")
        return scored._replace(nll=scored.nll * (1 + 0.1 * torch.rand(())))


def test_out_of_memory_shrinks_the_micro_batch_and_keeps_the_step(tmp_path):
    settings = TinySettings(noise=0.0, batch_norm=True)
    splits, shrunk, small = tiny_splits(settings), Greedy(settings), Greedy(settings)
    run = trained(tmp_path / "shrunk", shrunk, phase(splits))
    trained(tmp_path / "small", small, phase(splits), micro_batch=2)
    assert weights_digest(small.module) == weights_digest(shrunk.module)
    assert [4, 2] == [e["micro_batch"] for e in run.events("out_of_memory")]


def test_out_of_memory_with_one_example_is_the_users_to_solve(tmp_path):
    handle = Greedy(TinySettings(noise=0.0))
    handle.room = 0
    with pytest.raises(UserError, match="one example"):
        trained(tmp_path, handle, phase(parts()[1]))


def test_other_faults_are_not_taken_for_memory(tmp_path):
    def broken(*_):
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes"):
        trained(tmp_path, *parts()[:1], phase(parts()[1], broken))


def test_bf16_stays_near_single_precision_and_back_again(tmp_path):
    single, splits = parts()
    half, again = single.copy(), single.copy()
    trained(tmp_path / "single", single, phase(splits))
    trained(tmp_path / "half", half, phase(splits), precision="bf16")
    trained(tmp_path / "again", again, phase(splits))  # another precision in one process
    assert 0 < distance(single, half) < 0.02
    assert weights_digest(single.module) == weights_digest(again.module)


def test_checkpointed_gradients_and_statistics_are_the_same(tmp_path):
    from mmunlearn.vision.toy import toy_handle, toy_splits

    splits, plain = toy_splits(), toy_handle()
    saving = plain.copy()
    p = phase(splits, size=12, steps=2)
    trained(tmp_path / "plain", plain, p)
    trained(tmp_path / "saving", saving, p, gradient_checkpointing=True)
    assert distance(plain, saving) <= 1e-6


def test_checkpointing_a_model_that_offers_none_is_refused(tmp_path):
    with pytest.raises(UserError, match="gradient_checkpointing"):
        trained(tmp_path, parts()[0], phase(parts()[1]), gradient_checkpointing=True)


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="tensorboard is not installed")
def test_trackers_of_accelerate_write(tmp_path):
    trained(tmp_path, *parts()[:1], phase(parts()[1]), trackers=("tensorboard",))
    assert [f for f in tmp_path.rglob("*tfevents*") if f.stat().st_size]


def test_an_unknown_tracker_is_the_users_mistake(tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        trained(tmp_path, *parts()[:1], phase(parts()[1]), trackers=("nowhere",))


class Killed(Exception):
    pass


class Stopping(Run):
    """Ends like a killed process: right after its n-th checkpoint."""

    after = 0

    def save(self, step, state):
        super().save(step, state)
        if step == self.after:
            raise Killed


def counted_phases(splits, state):
    """Two phases over two optimisers, with dropout, views, relabelling, and state that the result depends on."""

    def terms(handle, batches, step):
        state["seen"] += 1
        noisy = functional.dropout(torch.ones(()), 0.5)
        return {"retain": Term(handle.score(batches["retain"]).nll.sum() * noisy, "retain", 1 + 0.1 * state["seen"])}

    return [
        phase(splits, terms, size=12, name=name, epochs=2, optimiser=key, spec=Optimiser(name="adamw", lr=0.01))
        for name, key in (("a@0", "one"), ("b", "two"), ("a@1", "one"))
    ]


def engine_with_state(handle, run, state):
    return Engine(handle, run, state=lambda: {"seen": state["seen"]}, load_state=state.update)


def test_resumed_from_every_step_equals_uninterrupted(tmp_path):
    settings = TinySettings(batch_norm=True)
    splits, whole, state = tiny_splits(settings), TinyHandle(settings), {"seen": 0}
    engine_with_state(whole, run_of(tmp_path / "whole"), state).run(counted_phases(splits, state))
    steps = state["seen"]
    assert 12 == steps
    for after in range(1, steps + 1):
        for run_class in (Stopping, Run):
            handle, state = TinyHandle(settings), {"seen": 0}
            run = run_class.scratch(tmp_path / f"{after}", 3, device="cpu", checkpoint_every=1)
            run.after = after
            try:
                engine_with_state(handle, run, state).run(counted_phases(splits, state))
            except Killed:
                assert run_class is Stopping
        assert weights_digest(whole.module) == weights_digest(handle.module), f"killed after step {after}"
        assert steps == state["seen"]


def test_relabel_gets_the_epoch_of_the_example(tmp_path):
    handle, splits = parts(retain=6)
    asked = []

    def relabel(example, epoch):
        asked.append((example.id, epoch))
        return example.with_target(epoch % 4)

    p = Phase(
        name="main", streams={"retain": Stream(splits["retain"], 6, relabel)}, driver="retain",
        terms=cross_entropy("retain"), epochs=3,
    )  # fmt: skip
    trained(tmp_path, handle, p)
    assert [0] * 6 + [1] * 6 + [2] * 6 == [epoch for _, epoch in asked]


def test_unused_parameters_are_left_alone(tmp_path):
    handle, splits = parts()
    extra = nn.Linear(2, 2)
    handle.module.append(nn.Identity())
    handle.module[4].extra = extra
    before = extra.weight.detach().clone()
    trained(tmp_path, handle, phase(splits, spec=Optimiser(lr=0.1, weight_decay=0.5)))
    assert torch.equal(before, extra.weight)


def test_an_empty_split_and_an_empty_choice_of_parameters_are_named(tmp_path):
    handle, splits = parts()
    empty = splits | {"retain": Split("retain", Role.RETAIN, ())}
    with pytest.raises(UserError, match="'retain' is empty"):
        trained(tmp_path, handle, phase(empty))
    with pytest.raises(UserError, match="'forget' is empty"):
        gone = splits | {"forget": Split("forget", Role.FORGET, ())}
        trained(tmp_path, handle, phase(gone, difference, ("retain", "forget")))
    with pytest.raises(UserError, match="no parameter to train"):
        trained(tmp_path, handle, phase(splits, trainable=frozenset({"nothing"})))


def test_frozen_statistics_stay_and_train_statistics_move(tmp_path):
    settings = TinySettings(batch_norm=True)
    for norm, moves in (("train", True), ("frozen", False), ("eval", False)):
        handle = TinyHandle(settings)
        before = handle.module[1].running_mean.clone()
        trained(tmp_path / norm, handle, phase(tiny_splits(settings), norm=norm))
        assert moves != torch.equal(before, handle.module[1].running_mean)
        assert not handle.module.training
