"""The six defences: their losses against slow versions written out with loops; what a run leaves."""

import math
from dataclasses import replace

import pytest
import torch
from mmunlearn.vlm.edit_training import Seen
from mmunlearn.vlm.methods._single_fact import alternative
from mmunlearn.vlm.methods.empty_response import EmptyResponse
from mmunlearn.vlm.methods.error_injection import ErrorInjection
from mmunlearn.vlm.methods.fact_erasure import FactErasure
from mmunlearn.vlm.methods.head_projection import HeadProjection
from mmunlearn.vlm.methods.input_rephrasing import InputRephrasing
from mmunlearn.vlm.methods.max_entropy import MaxEntropy
from mmunlearn.vlm.single_edits import edits_of
from mmunlearn.vlm.toy import toy_handle, toy_splits
from mmunlearn.vlm.unlok.wording import PREFIXES, fact_prompt, other_prompt
from mmunlearn.vlm.upper_layers import UpperLayers

from mmunlearn.errors import UserError

DEFENCES = (FactErasure, EmptyResponse, ErrorInjection, HeadProjection, MaxEntropy, InputRephrasing)


@pytest.fixture(scope="module")
def handle():
    return toy_handle()


@pytest.fixture(scope="module")
def examples():
    return toy_splits()["forget"].examples[:4]


def seen_of(handle, examples, owner):
    batch = handle.collate(examples)
    upper = UpperLayers(handle, batch, 1)
    with torch.no_grad():
        return Seen(handle, batch, upper.run(), torch.tensor(owner), 2)


def slow_logprob(handle, example):
    """Sum of log p over the answer's tokens, one by one, without the end token."""
    ids, start = handle.tokens(example)
    with torch.no_grad():
        logits, _ = handle.score_everywhere(handle.collate([example]))
    total = 0.0
    for at in range(start, len(ids)):
        if ids[at] not in handle.end_ids():
            row = logits[0, at - 1].double()
            total += float(row[ids[at]] - torch.logsumexp(row, 0))
    return total


def slow_p(handle, example, *, last=False):
    """Distribution where the first (last) answer token is predicted, and that token."""
    ids, start = handle.tokens(example)
    answer = [at for at in range(start, len(ids)) if ids[at] not in handle.end_ids()]
    at = answer[-1] if last else answer[0]
    with torch.no_grad():
        logits, _ = handle.score_everywhere(handle.collate([example]))
    return logits[0, at - 1].double().softmax(-1), ids[at]


def test_fact_erasure_is_the_probability_itself(handle, examples):
    found = FactErasure().loss(seen_of(handle, examples, [0, 1, 2, 3]), 4)
    expected = [math.exp(slow_logprob(handle, e)) for e in examples]
    assert found.tolist() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("cls", [EmptyResponse, ErrorInjection])
def test_taught_answers_are_scored_by_their_summed_loss(handle, examples, cls):
    asked = [row for e in examples for row in cls().asked(handle, e, 0)]
    found = cls().loss(seen_of(handle, asked, [0, 1, 2, 3]), 4)
    assert found.tolist() == pytest.approx([-slow_logprob(handle, e) for e in asked], rel=1e-4)
    assert all(e.target != row.target for e, row in zip(examples, asked, strict=True))


@pytest.mark.parametrize(("reference", "last"), [(False, False), (True, True)])
def test_head_projection_is_the_margin_to_both_ends(handle, examples, reference, last):
    """At the last state (normed once in the intended form), by sorting the whole distribution."""
    k = 7
    method = HeadProjection({"k": k, "layers": [2], "reference": reference})
    seen = seen_of(handle, examples, [0, 1, 2, 3])
    found = method.loss(seen, 4)
    for row, example in enumerate(examples):
        if reference:
            lens, _ = seen.lens([2], "last", legacy_double_norm=True)
            p, token = lens[row, 0].exp().double(), slow_p(handle, example, last=True)[1]
        else:
            p, token = slow_p(handle, example, last=last)
        ordered = sorted(p.tolist())
        margin = max(0.0, float(p[token]) - ordered[-k]) + max(0.0, ordered[k - 1] - float(p[token]))
        assert float(found[row]) == pytest.approx(margin, rel=1e-3, abs=1e-9)


def test_max_entropy_is_minus_the_entropy(handle, examples):
    found = MaxEntropy({"layers": [2]}).loss(seen_of(handle, examples, [0, 1, 2, 3]), 4)
    for row, example in enumerate(examples):
        p, _ = slow_p(handle, example)
        assert float(found[row]) == pytest.approx(sum(float(v) * math.log(float(v)) for v in p), rel=1e-4)


def test_erasure_can_be_added_to_the_hidden_states_term(handle, examples):
    seen = seen_of(handle, examples, [0, 1, 2, 3])
    alone, both = (MaxEntropy({"layers": [2], "erase": w}).loss(seen, 4) for w in (0.0, 2.0))
    torch.testing.assert_close(both - alone, 2 * FactErasure().loss(seen, 4), atol=1e-5, rtol=1e-3)


def test_input_rephrasing_takes_the_mean_and_the_reference_the_product(handle, examples):
    seen = seen_of(handle, examples, [0, 0, 1, 1])
    each = [math.exp(slow_logprob(handle, e)) for e in examples]
    mean, product = (InputRephrasing({"reference": r}).loss(seen, 2).tolist() for r in (False, True))
    assert mean == pytest.approx([(each[0] + each[1]) / 2, (each[2] + each[3]) / 2], rel=1e-3)
    assert product == pytest.approx([each[0] * each[1], each[2] * each[3]], rel=1e-3)


def test_input_rephrasing_asks_rephrasings_and_prefixes(handle, examples):
    fact = replace(examples[0], prompt=fact_prompt("Why?"), tags={"rephrasings": "How so?\nFor what?"})
    prompts = [row.prompt for row in InputRephrasing({"rephrasings": 1, "prefixes": 1}).asked(handle, fact, 0)]
    assert prompts == [
        fact_prompt("Why?"), other_prompt("How so?"), fact_prompt(PREFIXES[0] + "Why?"),
    ]  # fmt: skip


def test_the_alternative_is_the_tag_then_a_choice_then_a_refusal(handle, examples):
    assert alternative(handle, replace(examples[0], tags={"alternative": "no"}), 0) == "no"
    assert alternative(handle, examples[0], 0) == examples[0].choices[0]
    bare = replace(examples[0], choices=(), tags={})
    assert alternative(handle, bare, 0) == alternative(handle, bare, 0) != bare.target


@pytest.mark.parametrize("cls", DEFENCES)
def test_every_fact_gets_an_edit_that_lowers_its_own_answer(task, run, cls):
    original, splits = task()
    forget = splits["forget"].subset(range(3))
    method = cls({**cls.toy, "scope": "each"})
    before = original.score(original.collate(forget.examples)).nll
    result = method.apply(original, {**splits, "forget": forget}, run)
    after = result.score(result.collate(forget.examples)).nll
    assert (after > before).all(), (before, after)
    edits = edits_of(result.model)
    assert edits is not None and edits.keys == forget.ids
    kinds = {"empty_response": "empty", "error_injection": "alternative"}
    assert edits.kind == kinds.get(cls.name(), "erase")


def test_one_edit_for_all_facts_is_written_into_the_weight(task, run):
    original, splits = task()
    before = {name: tensor.clone() for name, tensor in original.module.state_dict().items()}
    result = FactErasure({**FactErasure.toy, "scope": "all"}).apply(original, splits, run)
    changed = [n for n, t in result.module.state_dict().items() if not torch.equal(t, before[n])]
    assert [name.rpartition(".mlp.")[2] for name in changed] == ["down_proj.weight"]
    assert edits_of(result.model) is None


def test_finished_groups_are_not_trained_again(task, run, monkeypatch):
    original, splits = task()
    settings = {**FactErasure.toy, "edit": {**FactErasure.toy["edit"], "together": 5}}
    first = edits_of(FactErasure(settings).apply(original.copy(), splits, run).model)
    monkeypatch.setattr("mmunlearn.vlm.methods._single_fact.train_edits", None)
    again = edits_of(FactErasure(settings).apply(original.copy(), splits, run).model)
    assert first.keys == again.keys == splits["forget"].ids
    assert all(torch.equal(t, again.state()[n]) for n, t in first.state().items())


def test_wrong_layers_and_edits_on_edits_are_refused(task, run):
    original, splits = task()
    with pytest.raises(UserError, match="changes states 1 to 2, not 9"):
        MaxEntropy({"layers": [9], "edit": {"layer": 0}}).apply(original.copy(), splits, run)
    edited = FactErasure(FactErasure.toy).apply(original.copy(), splits, run)
    with pytest.raises(UserError, match="carries edits already"):
        FactErasure(FactErasure.toy).apply(edited, splits, run)
