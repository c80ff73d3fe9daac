"""The objective engine: terms against loops over examples, draws by key, streams in step."""

import math

import pytest
import torch

from mmunlearn.data import Example, Role, Split
from mmunlearn.engine import Engine
from mmunlearn.errors import UserError
from mmunlearn.feed import Feed
from mmunlearn.objective import Objective, Part, Rules, origin
from mmunlearn.phases import Optimiser, Phase, Step, Stream
from mmunlearn.reference import Reference
from mmunlearn.run import Run
from mmunlearn.testing.method_checks import toy
from mmunlearn.testing.tiny import TinyHandle

STEP = Step("x", 0, 0, 1, 1, 0)


@pytest.fixture
def task():
    known = toy("core", "tokens")
    splits = dict(known.splits)
    splits["pd"] = Split("pd", Role.RETAIN, splits["retain"].examples[: len(splits["forget"])])
    refusals = tuple(Example(id=f"no/{i}", target=(i % 4, (i + 1) % 4)) for i in range(5))
    splits["refusal"] = Split("refusal", Role.UTILITY, refusals)
    return known.original.copy(), splits


def stream(split, **more):
    return Stream(split, 5, augment=False, **more)


def moved(handle):
    """The handle with other weights, and a copy of what it was."""
    before = handle.copy()
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in handle.module.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=draw))
    return before


def batches(handle, streams, phase_seed=3, epoch=0, size=5):
    position = Step("x", epoch, 0, 3, 2, phase_seed)
    found = {}
    for name, one in streams.items():
        feed = Feed(one, phase_seed, name)
        indices, epochs = feed.batch(position, driver=True)
        found[name] = feed.collate(handle, indices[:size], epochs[:size])
    return found


def floats(handle, batch):
    """(nll, count) of each example and the probabilities of each supervised item, with Python floats."""
    with torch.no_grad():
        rows = handle.module(batch.tensors["x"]).unflatten(-1, (-1, 4)).double().tolist()
    result = []
    for row, targets, mask in zip(rows, batch.tensors["target"].tolist(), batch.tensors["mask"].tolist(), strict=True):
        items = [
            ([math.exp(z) / sum(map(math.exp, logits)) for z in logits], t)
            for logits, t, on in zip(row, targets, mask, strict=True)
            if on
        ]
        result.append((-sum(math.log(p[t]) for p, t in items), len(items), [p for p, _ in items]))
    return result


def value(term, batches):
    """Sum over count times weight, as the engine divides."""
    if not term.over:
        return term.weight * term.sum.item() / term.count.item()
    name, _, examples = term.over.partition(".")
    return term.weight * term.sum.item() / (len(batches[name]) if examples else batches[name].count.sum().item())


def slow_mean(parts, reduction):
    """One mean over all tokens of all parts, or over all sequences of their token means."""
    rows = [row for part in parts for row in part]
    if reduction == "sequence":
        return sum(nll / count for nll, count in rows) / len(rows)
    return sum(nll for nll, _ in rows) / sum(count for _, count in rows)


def made(task, *parts, **rules):
    handle, splits = task
    objective = Objective(parts, Rules(**rules), "test")
    streams = objective.streams(splits, 3, stream)
    objective.remember(handle, streams, 2)
    before = moved(handle)
    found = batches(handle, streams)
    return objective.terms(handle, found, STEP), found, handle, before


@pytest.mark.parametrize("reduction", ["token", "sequence"])
def test_ce_and_ascent_equal_loops(task, reduction):
    terms, found, handle, _ = made(
        task, Part("ascent", ("forget",), 0.7), Part("ce", ("retain",), 0.5), Part("ce", ("pd",), 2.0),
        reduction=reduction,
    )  # fmt: skip
    assert ["ascent_forget", "ce_retain", "ce_pd"] == list(terms)
    for name, sign, where in (("ascent_forget", -0.7, "forget"), ("ce_retain", 0.5, "retain"), ("ce_pd", 2.0, "pd")):
        rows = [(nll, count) for nll, count, _ in floats(handle, found[where])]
        assert sign * slow_mean([rows], reduction) == pytest.approx(value(terms[name], found), rel=1e-5)


@pytest.mark.parametrize("reduction", ["token", "sequence"])
def test_joint_part_is_one_mean_over_both_streams(task, reduction):
    terms, found, handle, _ = made(task, Part("ce", ("refusal", "retain")), reduction=reduction)
    rows = [[(nll, count) for nll, count, _ in floats(handle, found[name])] for name in ("refusal", "retain")]
    assert slow_mean(rows, reduction) == pytest.approx(value(terms["ce_refusal_retain"], found), rel=1e-5)
    halves = (slow_mean(rows[:1], reduction) + slow_mean(rows[1:], reduction)) / 2
    if reduction == "token":
        assert abs(halves - value(terms["ce_refusal_retain"], found)) > 1e-3  # the case tells the two rules apart


@pytest.mark.parametrize("reference", ["cached", "frozen_copy"])
@pytest.mark.parametrize("reduction", ["token", "sequence"])
def test_kl_on_answers_equals_loops(task, reduction, reference):
    terms, found, handle, before = made(
        task, Part("ascent", ("forget",)), Part("kl", ("retain",), 3.0), reduction=reduction, reference=reference
    )
    rows = []
    for (_, count, now), (_, _, was) in zip(
        floats(handle, found["retain"]), floats(before, found["retain"]), strict=True
    ):
        pairs = [(p, q) for ps, qs in zip(was, now, strict=True) for p, q in zip(ps, qs, strict=True)]
        rows.append((sum(p * (math.log(p) - math.log(q)) for p, q in pairs), count))
    assert 3 * slow_mean([rows], reduction) == pytest.approx(value(terms["kl_retain"], found), rel=1e-4)


def test_kl_is_zero_at_the_original(task):
    handle, splits = task
    objective = Objective([Part("kl", ("retain",))], Rules(), "test")
    streams = objective.streams(splits, 3, stream)
    objective.remember(handle, streams, 1)
    found = batches(handle, streams)
    term = objective.terms(handle, found, STEP)["kl_retain"]
    assert term.sum.item() == pytest.approx(0, abs=1e-5)


class Everywhere(TinyHandle):
    """Logits at every position, masked or not."""

    def score_everywhere(self, batch):
        logits = self.module(batch.tensors["x"]).unflatten(-1, (-1, self.settings.classes))
        return logits, torch.ones(logits.shape[:2], dtype=torch.bool)


def test_kl_everywhere_counts_every_position(task):
    original, splits = task
    handle = Everywhere(original.settings)
    handle.module.load_state_dict(original.module.state_dict())
    terms, found, handle, before = made((handle, splits), Part("kl", ("retain",), 2.0), kl_scope="all")
    with torch.no_grad():
        q, p = (h.score_everywhere(found["retain"])[0].double().log_softmax(-1) for h in (handle, before))
    slow = sum(
        math.exp(a) * (a - b)
        for x, y in zip(p.tolist(), q.tolist(), strict=True)
        for t, u in zip(x, y, strict=True)
        for a, b in zip(t, u, strict=True)
    ) / (p.shape[0] * p.shape[1])
    assert 2 * slow == pytest.approx(value(terms["kl_retain"], found), rel=1e-4)


def test_kl_everywhere_refuses_a_cache_and_a_model_without_the_verb(task):
    handle, splits = task
    objective = Objective([Part("kl", ("retain",))], Rules(kl_scope="all", reference="cached"), "test")
    streams = objective.streams(splits, 3, stream)
    with pytest.raises(UserError, match="cache"):
        objective.remember(handle, streams, 1)
    objective = Objective([Part("kl", ("retain",))], Rules(kl_scope="all"), "test")
    objective.remember(handle, streams, 1)
    with pytest.raises(UserError, match="kl_scope"):
        objective.terms(handle, batches(handle, streams), STEP)


def test_npo_equals_loops(task):
    terms, found, handle, before = made(task, Part("npo", ("forget",), 1.5), beta=0.3)
    delta = [a[0] - b[0] for a, b in zip(floats(handle, found["forget"]), floats(before, found["forget"]), strict=True)]
    slow = sum(2 / 0.3 * math.log(1 + math.exp(-0.3 * d)) for d in delta) / len(delta)
    assert 1.5 * slow == pytest.approx(value(terms["npo_forget"], found), rel=1e-5)


def test_simnpo_equals_loops(task):
    terms, found, handle, _ = made(task, Part("simnpo", ("forget",), 0.5), beta=2.5, gamma=0.4)
    means = [nll / count for nll, count, _ in floats(handle, found["forget"])]
    slow = sum(2 / 2.5 * math.log(1 + math.exp(-(2.5 * m - 0.4))) for m in means) / len(means)
    assert 0.5 * slow == pytest.approx(value(terms["simnpo_forget"], found), rel=1e-5)


@pytest.mark.parametrize("reverse", [False, True])
def test_dpo_equals_loops_whatever_the_order_inside_a_batch(task, reverse):
    handle, splits = task
    objective = Objective([Part("dpo", ("refusal", "forget"))], Rules(beta=0.3, refusals="example"), "test")
    streams = objective.streams(splits, 3, stream)
    objective.remember(handle, streams, 2)
    before = moved(handle)
    found = batches(handle, streams)
    rows = {name: list(zip(floats(handle, b), floats(before, b), strict=True)) for name, b in found.items()}
    ratios = {name: [was[0] - now[0] for now, was in r] for name, r in rows.items()}
    slow = [
        2 / 0.3 * math.log(1 + math.exp(-0.3 * (w - r)))
        for w, r in zip(ratios["refusal"], ratios["forget"], strict=True)
    ]
    if reverse:
        examples = {e.id: e for e in splits["forget"]}
        found["forget"] = handle.collate([examples[i] for i in found["forget"].ids[::-1]])
    terms = objective.terms(handle, found, STEP)
    assert sum(slow) / len(slow) == pytest.approx(value(terms["dpo_refusal_forget"], found), rel=1e-4)


def test_limit_stops_ascent_on_answers_beyond_it(task):
    handle, splits = task
    one = floats(handle, handle.collate(splits["forget"].examples))
    means = sorted(nll / count for nll, count, _ in one)
    limit = (means[0] + means[-1]) / 2
    objective = Objective([Part("ascent", ("forget",))], Rules(limit_nats=limit), "test")
    found = {"forget": handle.collate(splits["forget"].examples)}
    got = objective.terms(handle, found, STEP)["ascent_forget"]
    below = [i for i, (nll, count, _) in enumerate(one) if nll / count < limit]
    assert 0 < len(below) < len(one)
    kept = handle.score(handle.collate([splits["forget"][i] for i in below])).nll.sum()
    parameters = list(handle.module.parameters())
    for a, b in zip(torch.autograd.grad(got.sum, parameters), torch.autograd.grad(kept, parameters), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_streams_arrive_in_step(task):
    handle, splits = task
    objective = Objective(
        [Part("ascent", ("forget",)), Part("ce", ("refusal", "retain")), Part("ce", ("pd",))], Rules(), "test"
    )
    streams = objective.streams(splits, 3, stream)
    assert ["forget", "refusal", "retain", "pd"] == list(streams)
    found = batches(handle, streams, epoch=1)
    place = {e.id: i for i, e in enumerate(splits["forget"])}
    assert [splits["pd"][place[i]].id for i in found["forget"].ids] == list(found["pd"].ids)
    assert list(found["forget"].ids) == [origin(i) for i in found["refusal"].ids]
    assert set(found["retain"].ids) <= set(splits["retain"].ids)


def test_refusals_are_drawn_by_seed_id_and_epoch(task):
    _, splits = task

    def drawn(seed, epoch, rule):
        one = Objective([Part("ce", ("refusal",))], Rules(refusals=rule), "test").streams(splits, seed, stream)
        return [one["refusal"].relabel(e, epoch).id for e in splits["forget"]]

    assert drawn(3, 0, "access") == drawn(3, 0, "access")
    assert drawn(3, 0, "access") != drawn(3, 1, "access")
    assert drawn(3, 0, "access") != drawn(4, 0, "access")
    assert drawn(3, 0, "example") == drawn(3, 1, "example")


def test_refused_example_has_the_refusals_answer_and_the_questions_picture(task):
    _, splits = task
    change = Objective([Part("ce", ("refusal",))], Rules(), "test").streams(splits, 3, stream)["refusal"].relabel
    example = splits["forget"][0]
    refused = change(example, 0)
    index = int(refused.id.partition("#refusal")[2])
    assert (splits["refusal"][index].target, example.prompt) == (refused.target, refused.prompt)


def test_zero_weight_leaves_a_part_out(task):
    objective = Objective([Part("ascent", ("forget",)), Part("ce", ("pd",), 0.0)], Rules(), "test")
    assert (("forget",), frozenset({"forget"})) == (objective.on, objective.splits)
    with pytest.raises(UserError, match="zero"):
        Objective([Part("ascent", ("forget",), 0.0)], Rules(), "test")


def test_pd_of_another_length_is_refused(task):
    _, splits = task
    splits["pd"] = Split("pd", Role.RETAIN, splits["pd"].examples[:-1])
    with pytest.raises(UserError, match="by index"):
        Objective([Part("ce", ("pd",))], Rules(), "test").streams(splits, 3, stream)


@pytest.mark.parametrize("name", ["refusal", "retain"])
def test_empty_pool_is_refused(task, name):
    _, splits = task
    splits[name] = Split(name, Role.RETAIN, ())
    with pytest.raises(UserError, match="empty"):
        Objective([Part("ce", (name,))], Rules(), "test").streams(splits, 3, stream)


def test_cache_holds_exactly_what_the_epochs_show(task, monkeypatch):
    handle, splits = task
    seen = []
    monkeypatch.setattr(Reference, "fill", lambda self, splits, size: seen.extend(e.id for s in splits for e in s))
    objective = Objective([Part("kl", ("retain",))], Rules(), "test")
    streams = objective.streams(splits, 3, stream)
    objective.remember(handle, streams, 2)
    shown = {streams["retain"].relabel(e, epoch).id for e in splits["forget"] for epoch in range(2)}
    assert (shown, len(shown)) == (set(seen), len(seen))


@pytest.mark.parametrize("micro", [1, 3])
def test_training_is_the_same_in_micro_batches(task, tmp_path, micro):
    """The joint mean and the streams in step, cut into forward passes."""
    handle, splits = task
    results = []
    for number, size in enumerate((None, micro)):
        copy = handle.copy()
        objective = Objective([Part("ce", ("refusal", "retain")), Part("ce", ("pd",), 0.5)], Rules(), "test")
        streams = objective.streams(splits, 3, stream)
        phase = Phase(
            name="x", streams=streams, driver="refusal", terms=objective.terms, epochs=2, spec=Optimiser(lr=0.1)
        )
        run = Run.scratch(tmp_path / str(number), 3, device="cpu", micro_batch=size)
        Engine(copy, run).run([phase])
        results.append(copy.module.state_dict())
    for name, tensor in results[0].items():
        torch.testing.assert_close(tensor, results[1][name], rtol=1e-4, atol=1e-5)
