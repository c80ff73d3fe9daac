"""SIU on the toy task: its terms against loops over tokens, its masks, its faults."""

import math

import pytest
import torch
from mmunlearn.vlm.methods.siu import Siu
from mmunlearn.vlm.toy import toy_handle, toy_splits

from mmunlearn.data import Example, Role, Split
from mmunlearn.errors import UserError
from mmunlearn.methods.base import Step


@pytest.fixture(scope="module")
def task():
    splits = toy_splits()
    data = {"siu": splits["siu"].subset([0, 1, 13, 14])}
    return data, toy_handle(0)


def terms(task, config, *, moved=0.3):
    """Terms of one batch of a model that has moved away from the original."""
    data, handle = task
    handle = handle.copy()
    handle.keep_logits = True
    method = Siu({"reference": "cached", **config})
    method.prepare(handle, data, None)
    with torch.no_grad():
        for i, parameter in enumerate(handle.module.parameters()):
            noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(i))
            parameter.add_(noise, alpha=moved * float(parameter.std(unbiased=False)))
    batch = handle.collate(list(data["siu"]))
    return method._terms(handle, {"siu": batch}, Step("siu", 0, 0, 1, 1, 0)), handle, batch


def probabilities(handle, example):
    """Softmax of every answer position of one example, alone in its batch, and its answer's ids."""
    handle.keep_logits = True
    with torch.no_grad():
        scored = handle.score(handle.collate([example]))
    return scored.logits[0].double().softmax(-1), scored.targets[0]


def name_ids(handle, names):
    wanted = set()
    for name in names.split("\n") if names else []:
        for case in (name, name.lower(), name.upper(), name.title()):
            for text in (case, " " + case):
                ids = handle.tokenizer(text, add_special_tokens=False).input_ids
                long = [i for i in ids if sum(c.isalnum() for c in handle.tokenizer.decode([i])) >= 2]
                wanted |= set(long or [i for i in ids if any(c.isalnum() for c in handle.tokenizer.decode([i]))])
    return wanted


def slow(task, moved_handle):
    """CE and masked divergence written as loops over examples, tokens and words."""
    data, original = task
    ce = dmk = 0.0
    count = kept = 0
    for example in data["siu"]:
        before, ids = probabilities(original, example)
        after, _ = probabilities(moved_handle, example)
        gone = name_ids(original, example.tags["names"])
        answer = original.tokenizer.decode(ids.tolist())
        start = answer.find(example.tags["phrase"]) if example.tags["phrase"] else -1
        done = 0
        for t, token in enumerate(ids.tolist()):
            ce -= math.log(float(after[t, token]))
            count += 1
            end = len(original.tokenizer.decode(ids[: t + 1].tolist()))
            masked = start >= 0 and done < start + len(example.tags["phrase"]) and end > start
            done = end
            if masked:
                continue
            kept += 1
            for v in range(before.shape[1]):
                if v not in gone:
                    dmk += float(before[t, v]) * math.log(float(before[t, v]) / float(after[t, v]))
    return ce, count, dmk, kept


def test_terms_equal_loops_over_tokens_and_words(task):
    found, handle, batch = terms(task, {})
    ce, count, dmk, kept = slow(task, handle)
    assert float(found["ce"].sum) == pytest.approx(ce, rel=1e-4)
    assert int(batch.count.sum()) == count
    assert float(found["dmk"].sum) == pytest.approx(dmk, rel=1e-3)
    assert float(found["dmk"].count) == kept < count
    assert (0.9, 0.75) == (found["ce"].weight, found["dmk"].weight)
    assert ("siu", "") == (found["ce"].over, found["dmk"].over)


def test_the_divergence_is_zero_at_the_original_without_masks(task):
    found, *_ = terms(task, {"token_mask": "none", "vocabulary_mask": False}, moved=0.0)
    assert float(found["dmk"].sum) == pytest.approx(0.0, abs=1e-4)


def test_without_token_mask_every_answer_token_counts(task):
    found, _, batch = terms(task, {"token_mask": "none"})
    assert float(found["dmk"].count) == int(batch.count.sum())


def test_the_probability_mask_drops_positions_by_the_originals_mass_on_the_name(task):
    data, original = task
    threshold = 0.0008
    found, *_ = terms(task, {"token_mask": "probability", "threshold": threshold})
    kept = 0
    for example in data["siu"]:
        before, ids = probabilities(original, example)
        gone = sorted(name_ids(original, example.tags["names"]))
        kept += sum(float(before[t, gone].sum()) < threshold for t in range(len(ids)))
    assert float(found["dmk"].count) == kept


def test_the_released_form_divides_by_the_vocabulary_too(task):
    paper, handle, _ = terms(task, {"names": "reference"})
    released, *_ = terms(task, {"form": "released", "names": "reference"})
    vocabulary = handle.model.get_output_embeddings().weight.shape[0]
    assert float(released["dmk"].count) == pytest.approx(float(paper["dmk"].count) * vocabulary)
    assert float(released["dmk"].sum) > float(paper["dmk"].sum)


def test_a_phrase_that_is_not_in_the_answer_is_refused(task):
    item = Example(id="x", prompt="Who?", target="red tall", tags={"phrase": "blue", "names": "red"})
    with pytest.raises(UserError, match="x: its phrase 'blue' does not stand in its answer 'red tall'"):
        Siu().prepare(task[1], {"siu": Split("siu", Role.FORGET, (item,))}, None)


def test_steps_end_the_phase_early(task):
    (phase,) = Siu({"steps": 3}).phases(task[1], task[0], None)
    assert 3 == phase.steps
    (phase,) = Siu().phases(task[1], task[0], None)
    assert phase.steps is None


def test_an_unknown_token_mask_is_refused():
    with pytest.raises(UserError, match="token_mask"):
        Siu({"token_mask": "some"})
