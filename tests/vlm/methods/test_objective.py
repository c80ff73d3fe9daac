"""Weight tables of the objective engine's methods, what they ask for, and their terms on a vision-language model."""

import math

import pytest
import torch
from mmunlearn.vlm.methods._objective import warmed
from mmunlearn.vlm.toy import toy_handle

from mmunlearn import registry
from mmunlearn.engine import Engine
from mmunlearn.errors import UserError
from mmunlearn.feed import Feed
from mmunlearn.methods.base import Need, rate
from mmunlearn.objective import Part
from mmunlearn.phases import Step

F, R, P = ("forget",), ("retain",), ("pd",)
# vlm_fiu_mmu_safe 3.2, exactly; the last three are ours.
TABLES = {
    "ga": [Part("ascent", F, 1)],
    "gapd": [Part("ascent", F, 1), Part("ce", P, 0.5)],
    "gd": [Part("ascent", F, 1), Part("ce", R, 1)],
    "gdpd": [Part("ascent", F, 1), Part("ce", R, 0.5), Part("ce", P, 0.5)],
    "kl": [Part("ascent", F, 1), Part("kl", R, 1)],
    "klpd": [Part("ascent", F, 1), Part("kl", R, 1), Part("ce", P, 1)],
    "po": [Part("ce", ("refusal", "retain"), 1)],
    "popd": [Part("ce", ("refusal", "retain"), 1), Part("ce", P, 1)],
    "npopd": [Part("npo", F, 1), Part("ce", R, 1), Part("ce", P, 1)],
    "simnpopd": [Part("simnpo", F, 0.1375), Part("ce", R, 1), Part("ce", P, 1)],
    "dpopd": [Part("dpo", ("refusal", "forget"), 1), Part("ce", R, 1), Part("ce", P, 1)],
}


def method(name, settings=None):
    return registry.load("methods", name, "vlm")(settings)


@pytest.mark.parametrize("name", TABLES)
def test_weight_table(name):
    assert TABLES[name] == list(method(name).objective().parts)


@pytest.mark.parametrize("name", TABLES)
def test_needs_what_the_table_reads_and_nothing_else(name):
    read = {"forget"} | {stream for part in TABLES[name] for stream in part.on}
    required = method(name).required()
    assert read == {str(need) for need in required if need not in (Need.REFERENCE, Need.LOGITS)}
    assert (Need.LOGITS in required) == (name in ("kl", "klpd"))


@pytest.mark.parametrize("name", ["ga", "gd", "kl", "po"])
def test_any_method_takes_the_pd_loss(name):
    changed = method(name, {"weights": {"pd": 0.25}})
    assert [*TABLES[name], Part("ce", P, 0.25)] == list(changed.objective().parts)
    assert "pd" in changed.required()


def test_kl_everywhere_asks_for_no_answer_logits():
    assert Need.LOGITS not in method("kl", {"kl_scope": "all"}).required()


def test_all_weights_zero_is_the_users_mistake():
    with pytest.raises(UserError, match="zero"):
        method("ga", {"weights": {"forget": 0}}).objective()


def test_pd_loss_of_weight_zero_leaves_the_forget_gradient_unchanged(task, run, tmp_path):
    results = []
    for weight in (0.0, None):
        handle, splits = task()
        settings = {"epochs": 1, "optimiser": {"name": "sgd", "lr": 0.1}}
        chosen = method("gapd", settings | {"weights": {"pd": 0.0}}) if weight == 0.0 else method("ga", settings)
        chosen.prepare(handle, splits, run)
        (phase,) = chosen.phases(handle, splits, run)
        batch = handle.collate(splits["forget"].examples)
        term = phase.terms(handle, {"forget": batch}, None)["ascent_forget"]
        term.sum.backward()
        results.append([p.grad.clone() for p in handle.module.parameters() if p.grad is not None])
    assert results[0] and all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def pieces(handle, streams, seed):
    position = Step("x", 0, 0, 1, 1, seed)
    found = {}
    for name, one in streams.items():
        feed = Feed(one, seed, name)
        found[name] = feed.collate(handle, *feed.batch(position, driver=True))
    return found


@pytest.mark.parametrize("name", ["gdpd", "klpd", "popd"])
def test_terms_equal_single_answers_one_by_one(name, task, run):
    """The batch's sums against each answer alone, without padding beside it."""
    handle, splits = task()
    chosen = method(name)
    handle.keep_logits = Need.LOGITS in chosen.required()
    chosen.prepare(handle, splits, run)
    (phase,) = chosen.phases(handle, splits, run)
    before = handle.copy()
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in handle.module.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=draw))
    found = pieces(handle, phase.streams, run.seed)
    terms = phase.terms(handle, found, None)
    everything = {e.id: e for split in splits.values() for e in split}
    for part in chosen.objective().parts:
        slow, count = 0.0, 0
        for stream in part.on:
            asked = [everything[i.partition("#")[0]] for i in found[stream].ids]
            if stream == "refusal":
                asked = [
                    e.with_target(splits["refusal"][int(i.partition("#refusal")[2])].target)
                    for e, i in zip(asked, found[stream].ids, strict=True)
                ]
            if stream == "pd":
                asked = [next(e for e in splits["pd"] if e.id == i) for i in found[stream].ids]
            for example in asked:
                batch = handle.collate([example])
                with torch.no_grad():
                    count += int(batch.count.sum())
                    if part.kind == "kl":
                        p, q = (h.score(batch).logits[0].double().log_softmax(-1) for h in (before, handle))
                        slow += float((p.exp() * (p - q)).sum())
                    else:
                        slow += float(handle.score(batch).nll.sum())
        term = terms[part.name]
        total = float(term.count) if not term.over else float(found[term.over].count.sum())
        assert count == total
        assert slow == pytest.approx(term.sum.item(), rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("where", ["frozen_copy", "adapters_off"])
def test_kl_everywhere_is_the_mean_over_every_position_of_the_batch(where, task, run):
    handle, splits = task()
    if where == "adapters_off":
        handle = handle.adapted({"lora": {"r": 2, "alpha": 4}})
    before = handle.copy()
    chosen = method("kl", {"kl_scope": "all"})
    chosen.prepare(handle, splits, run)
    (phase,) = chosen.phases(handle, splits, run)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for _, parameter in handle.trainable():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=draw))
    found = pieces(handle, phase.streams, run.seed)
    term = phase.terms(handle, found, None)["kl_retain"]
    with torch.no_grad():
        p, q = (h.score_everywhere(found["retain"])[0].double().log_softmax(-1) for h in (before, handle))
    slow = sum(float((a.exp() * (a - b)).sum()) for a, b in zip(p.flatten(0, 1), q.flatten(0, 1), strict=True))
    assert slow == pytest.approx(term.sum.item(), rel=1e-3)
    assert p.shape[0] * p.shape[1] == float(term.count)
    assert slow > 0.01


def test_po_teaches_refusals_and_keeps_the_rest(task, run):
    handle, splits = task()
    settings = {"epochs": 20, "batch_size": 12, "optimiser": {"lr": 0.005}, "refusals": "example"}

    def mean(examples):
        with torch.no_grad():
            scored = handle.score(handle.collate(examples))
        return float(scored.nll.sum() / scored.count.sum())

    refused = [e.with_target(splits["refusal"][0].target) for e in splits["forget"]]
    before = mean(refused), mean(splits["forget"].examples), mean(splits["retain"].examples)
    method("po", settings).apply(handle, splits, run)
    handle.module.eval()
    after = mean(refused), mean(splits["forget"].examples), mean(splits["retain"].examples)
    assert after[0] < before[0] - 2
    assert after[1] > before[1] + 0.5
    assert after[2] < after[1]


def test_warm_up_rises_then_follows_the_schedule():
    factor = warmed(rate("cosine"), 0.2)
    values = [factor(Step("x", 0, i, 10, 1, 0)) for i in range(10)]
    assert [0.0, 0.5, 1.0] == values[:3]
    assert 0.5 * (1 + math.cos(math.pi * 4 / 8)) == pytest.approx(values[6])
    assert warmed(None, 0.0) is None
    assert 1.0 == warmed(None, 0.5)(Step("x", 0, 9, 10, 1, 0))


def test_reference_is_the_adapters_off_model_under_lora(task, run):
    handle, splits = task()
    handle = handle.adapted({"lora": {"r": 2, "alpha": 4}})
    handle.keep_logits = True
    chosen = method("kl")
    chosen.prepare(handle, splits, run)
    assert "adapters_off" == chosen._objective._reference.kind


def test_engine_runs_all_streams_on_a_fresh_model(task, run):
    """Refusals, partners and twins go through one optimiser step without an adapter or a cache."""
    _, splits = task()
    handle = toy_handle()
    chosen = method("popd", {"epochs": 1, "batch_size": 4})
    chosen.prepare(handle, splits, run)
    Engine(handle, run).run(chosen.phases(handle, splits, run))
    assert {"ce_refusal_retain", "ce_pd"} == set(run.events("step")[-1]["terms"])


def test_kl_scope_sum_is_the_sum_over_every_position_divided_by_the_examples(task):
    """OFFSIDE's KL: weights .5, .5 and .05 on ascent, cross-entropy and the summed divergence."""
    from mmunlearn.vlm.methods.kl import Kl

    handle, data = task()
    method = Kl({"kl_scope": "sum", "weights": {"forget": 0.5, "retain": 0.05, "ce": 0.5}, "batch_size": 4})
    assert ["ascent_forget", "kl_retain", "ce_retain"] == [part.name for part in method.objective().parts]
    objective = method.objective()
    streams = objective.streams(data, 0, method.stream)
    objective.remember(handle, streams, 1)
    with torch.no_grad():
        for parameter in handle.module.parameters():
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    batches = {name: handle.collate(data[name].examples[:4]) for name in ("forget", "retain")}
    term = objective.terms(handle, batches, None)["kl_retain"]
    now, _ = handle.score_everywhere(batches["retain"])
    before, _ = objective._reference.ask("score_everywhere", batches["retain"])
    p, q = before.double().softmax(-1), now.double().softmax(-1)
    expected = sum((p[i, t] * (p[i, t] / q[i, t]).log()).sum() for i in range(len(p)) for t in range(p.shape[1]))
    assert 4.0 == float(term.count)
    assert expected.item() == pytest.approx(term.sum.item(), rel=1e-4)
