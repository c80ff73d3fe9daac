"""Concept vectors: places, likeness by hand, attribution against changing columns one by one, noise that leaves."""

import json
import math

import pytest
import torch
from mmunlearn.vlm.traces.concept_vectors import (
    Vector,
    columns,
    disturbed,
    find_vectors,
    likeness,
    promoted,
    read_vectors,
)

from mmunlearn.data import Split
from mmunlearn.errors import UserError
from mmunlearn.handle import weights_digest

RECORD = {"Concept": "Harry Potter", "Layer": 1, "Dim": 7, "QA": []}


def test_a_published_file_gives_places(tmp_path):
    path = tmp_path / "concepts.json"
    path.write_text(json.dumps([RECORD, RECORD | {"Dim": 9}]))
    assert [Vector(1, 7, "Harry Potter"), Vector(1, 9, "Harry Potter")] == read_vectors(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "cannot be read as JSON"),
        ("{}", "no list of records"),
        ("[]", "no list of records"),
        ('[{"Concept": "x", "Layer": 1}]', "record 0 has no Dim"),
        ('[{"Concept": "x", "Layer": "1", "Dim": 2}]', "no indices"),
        ('[{"Concept": "x", "Layer": -1, "Dim": 2}]', "no indices"),
        ("[3]", "record 0 has no Concept"),
    ],
)
def test_other_files_are_refused(tmp_path, content, said):
    path = tmp_path / "concepts.json"
    path.write_text(content)
    with pytest.raises(UserError, match=said):
        read_vectors(path)


def test_likeness_by_hand(task):
    one, _ = task()
    two = one.copy()
    layer = columns(two)[1]
    with torch.no_grad():
        layer.weight[:, 3] *= -2.0
    flipped, same = likeness(one, two, [Vector(1, 3), Vector(1, 4)], top=5)
    length = float(columns(one)[1].weight[:, 3].detach().norm())
    assert (-1.0, 3 * length, 0.0) == pytest.approx((flipped.cosine, flipped.distance, flipped.jaccard), abs=1e-5)
    assert (1.0, 0.0, 1.0) == pytest.approx((same.cosine, same.distance, same.jaccard), abs=1e-6)


def test_promoted_tokens_are_the_largest_products():
    embedding = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0], [-3.0, 0.0]])
    assert {2, 0} == promoted(embedding, torch.tensor([1.0, 0.0]), 2)


def test_a_place_of_another_model_is_refused(task):
    handle, _ = task()
    with pytest.raises(UserError, match="belongs to another model"):
        likeness(handle, handle, [Vector(31, 5)])


def test_attribution_follows_the_loss_of_taking_columns_out(task):
    """Against the slow way: every column of a layer set to zero in turn, in the sum of the first-order scores."""
    handle, splits = task()
    forget = Split("forget", splits["forget"].role, splits["forget"].examples[:4])
    retain = Split("retain", splits["retain"].role, splits["retain"].examples[:4])
    found = find_vectors(handle, forget, retain, count=12)

    def removal(vector, split):
        layer = columns(handle)[vector.layer]
        batch = handle.collate(split.examples)
        before = handle.score(batch).nll.sum()
        kept = layer.weight[:, vector.dim].clone()
        steps = []
        for scale in (1e-3,):  # the derivative at the full column, which is what first order means
            layer.weight[:, vector.dim] = kept * (1 - scale)
            steps.append((handle.score(batch).nll.sum() - before) / scale)
            layer.weight[:, vector.dim] = kept
        return float(steps[0]) / len(split.examples)

    handle.module.double()
    with torch.no_grad():
        for vector in found:
            slow = removal(vector, forget) - removal(vector, retain)
            assert slow == pytest.approx(vector.score, rel=0.02, abs=1e-3)
    assert [v.score for v in found] == sorted((v.score for v in found), reverse=True)


def test_noise_on_the_vectors_hurts_what_they_carry_and_leaves_again(task):
    handle, splits = task()
    before = weights_digest(handle.module)
    vectors = find_vectors(handle, splits["forget"], splits["retain"], count=8)
    batch = handle.collate(splits["forget"].examples)
    with torch.no_grad():
        plain = float(handle.score(batch).nll.sum())
        with disturbed(handle, vectors, std=1.0):
            noisy = float(handle.score(batch).nll.sum())
    assert noisy > plain
    assert math.isfinite(noisy)
    assert before == weights_digest(handle.module)


def test_finding_leaves_no_gradient_and_no_hook(task):
    handle, splits = task()
    find_vectors(handle, splits["forget"], splits["retain"], count=3)
    assert all(p.grad is None for p in handle.module.parameters())
    assert not any(layer._forward_pre_hooks for layer in columns(handle))
