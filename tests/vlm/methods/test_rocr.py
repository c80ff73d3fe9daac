"""ROCR: the solve against the direct one, what the keep space protects, places of names and pictures, the loop."""

from dataclasses import replace

import pytest
import torch
from mmunlearn.vlm.methods.rocr import Rocr, concepts, keep_space, name_at, picture_at, states, subject, update
from mmunlearn.vlm.traces.concept_vectors import columns

from mmunlearn.data import Split
from mmunlearn.errors import UserError


def test_the_update_solves_the_published_system():
    draw = torch.Generator().manual_seed(0)
    keys, rest, earlier = (torch.randn(*shape, generator=draw) for shape in ((7, 2), (5, 2), (7, 3)))
    kept = torch.linalg.qr(torch.randn(7, 3, generator=draw))[0]
    found = update(keys, rest, earlier, kept, 0.7)
    p = torch.eye(7) - kept @ kept.T
    direct = torch.linalg.solve(p @ (keys @ keys.T + earlier @ earlier.T) + 0.7 * torch.eye(7), p @ keys @ rest.T)
    assert torch.allclose(direct.T, found, atol=1e-5)


def test_what_the_retain_set_uses_is_left_alone():
    draw = torch.Generator().manual_seed(1)
    used = torch.zeros(50, 6)
    used[:, :2] = torch.randn(50, 2, generator=draw)
    kept = keep_space(used, 0.02)
    change = update(torch.randn(6, 1, generator=draw), torch.randn(4, 1, generator=draw), torch.zeros(6, 0), kept, 0.1)
    assert 2 == kept.shape[1]
    assert torch.allclose(torch.zeros(4, 50), change @ used.T, atol=1e-5)
    assert float(change.abs().max()) > 0.1


def test_without_a_keep_space_and_ridge_the_key_maps_to_the_goal():
    key, rest = torch.randn(6, 1), torch.randn(4, 1)
    change = update(key, rest, torch.zeros(6, 0), torch.zeros(6, 0), 1e-9)
    assert torch.allclose(rest, change @ key, atol=1e-4)


def test_a_name_in_the_question_is_found_at_its_last_token(task):
    handle, splits = task()
    example = replace(
        splits["forget"][0], image=None, prompt="Where is the tall river now?", tags={"subject": "tall river"}
    )
    (at,) = name_at(handle, example, subject(example))
    ids = handle.prompt_ids(example)
    before, after = handle.tokenizer.decode(ids[:at]), handle.tokenizer.decode(ids[: at + 1])
    assert "tall river" not in before
    assert after.endswith("tall river")


def test_a_concept_without_a_name_is_its_picture(task):
    handle, splits = task()
    pairs = list(concepts(handle, splits["forget"], splits["retain"], "Nobody", 0))
    assert len(splits["forget"]) == len(pairs)
    place, anchor = pairs[0]
    assert place.positions == anchor.positions == picture_at(handle, place.example)
    ids = handle.prompt_ids(place.example)
    assert {ids[i] for i in place.positions} == set(handle.picture(place.example).ids)
    assert anchor.example.image in [e.image for e in splits["retain"]]


def test_nothing_to_hold_on_to_is_said(task):
    handle, splits = task()
    bare = Split("forget", splits["forget"].role, (replace(splits["forget"][0], image=None, tags={}),))
    with pytest.raises(UserError, match="finds no concept"):
        list(concepts(handle, bare, splits["retain"], "Nobody", 0))


def test_the_edited_tokens_move_towards_the_anchor(task, run):
    """One layer, no protection: the block's output at the concept's tokens becomes the anchor's."""
    handle, splits = task()
    one = Split("forget", splits["forget"].role, splits["forget"].examples[:1])
    ((place, anchor),) = concepts(handle, one, splits["retain"], "Nobody", run.seed)
    layer = [columns(handle)[0]]
    goal, before = (states(handle, layer, p).after[-1] for p in (anchor, place))
    Rocr({"layers": (0,), "null_below": 1e9, "ridge": 1e-6}).apply(handle, {**splits, "forget": one}, run)
    after = states(handle, layer, place).after[-1]
    assert float((after - goal).norm()) < 0.05 * float((before - goal).norm())


def test_a_block_that_is_not_there_is_refused(task, run):
    handle, splits = task()
    with pytest.raises(UserError, match="not a block of this model, which has 2"):
        Rocr({"layers": (9,)}).apply(handle, splits, run)


def test_default_layers_are_those_of_the_source():
    assert [4, 5, 6] == Rocr()._layers(32)
    assert [0] == Rocr()._layers(2)
