"""CHIP against a literal version: question by question, with the matrix I - QQ^T written out."""

import math
from dataclasses import replace

import pytest
import torch
from mmunlearn.vlm.methods.chip import Chip, Layer, Sums, _merged, _mixed, basis, pairs, projected
from mmunlearn.vlm.toy import toy_handle, toy_splits

from mmunlearn.data import Split
from mmunlearn.errors import UserError
from mmunlearn.run import Run

FORGET = ("a/p1/s1", "a/p1/s1/F", "a/p1/s1/F", "a/p1/s2", "b/p4/s7/F", "b/p4/s7")
RETAIN = ("a/p2/s3", "a/p2/s3/F", "a/p2/s4", "a/p3/s5/F", "b/p5/s8", "b/p5/s9/F", "c/p6/s6", "a", "b")


def placed(split, paths):
    examples = [replace(e, tags={**e.tags, "node": path}) for e, path in zip(split, paths, strict=False)]
    return Split(split.name, split.role, tuple(examples))


@pytest.fixture(scope="module")
def data():
    splits = toy_splits()
    return {"forget": placed(splits["forget"], FORGET), "retain": placed(splits["retain"], RETAIN)}


def activations(handle, example, layer, alpha, width=0):
    """Mean of one layer's output for one question, token by token; width: tokens of padding that count too."""
    found = []
    hook = layer.register_forward_hook(lambda m, i, o: found.append(o.detach()))
    handle.hidden(handle.collate([example]))
    hook.remove()
    ids, _ = handle.tokens(example)
    place = handle.family.placeholder_id(handle.processor)
    seen, other = [], []
    for at, token in enumerate(ids):
        (seen if token == place else other).append(found[0][0, at].double())
    text = sum(other) / len(other)
    return alpha * sum(seen) / len(seen) + (1 - alpha) * text if seen else text


def literal(handle, data, level, top_frac=0.5, tau=0.95, alpha=0.3, last_layers=1, twice=False):
    """Weights after CHIP, by layer."""
    result = {}
    for name, layer in projected(handle, last_layers, mergers=True).items():
        a = {
            part: [(e.tags["node"].split("/"), activations(handle, e, layer, alpha)) for e in data[part]]
            for part in data
        }
        deep = {part: [(n, v) for n, v in a[part] if len(n) >= level] for part in a}
        again = {part: [(n, v) for n, v in deep[part] if twice and len(n) > level] for part in a}
        strength = {part: torch.stack([v.abs() for _, v in deep[part] + again[part]]).mean(0) for part in a}
        score = strength["forget"] - strength["retain"]
        count = max(1, math.floor(top_frac * len(score)))
        chosen = sorted(sorted(range(len(score)), key=lambda i: -score[i].item())[:count])

        directions = []
        for target in unique(n[:level] for n, _ in deep["forget"]):
            children = unique(n[: level + 1] for n, _ in deep["forget"] if len(n) > level and n[:level] == target)
            depth = level + 1 if children else level
            everyone = unique(n[:depth] for n, _ in deep["retain"] if len(n) >= depth)
            near = [n for n in everyone if n[: level - 1] == target[:-1]] or everyone
            group = [v for n, v in deep["retain"] if any(n[:depth] == one for one in near)]
            for node in children or [target]:
                difference = (below(deep["forget"], node) - torch.stack(group).mean(0))[chosen]
                if difference.norm() > 1e-8:
                    directions.append(difference / difference.norm())
        _, s, vt = torch.linalg.svd(torch.stack(directions), full_matrices=False)
        total, rank = (s**2).sum(), 0
        while (s[:rank] ** 2).sum() < tau * total:
            rank += 1
        q = vt[:rank].T
        weight = layer.weight.detach().double().clone()
        weight[chosen] = (torch.eye(len(chosen), dtype=torch.float64) - q @ q.T) @ weight[chosen]
        result[name] = weight
    return result


def below(found, node):
    return torch.stack([v for n, v in found if n[: len(node)] == node]).mean(0)


def unique(nodes):
    found = []
    for node in nodes:
        if node not in found:
            found.append(node)
    return found


@pytest.mark.parametrize(("level", "counted"), [(2, "questions"), (3, "questions"), (2, "nodes")])
def test_weights_are_those_of_the_literal_version(data, level, counted, tmp_path):
    handle = toy_handle()
    expected = literal(handle, data, level, twice=counted == "nodes")
    settings = {"top_frac": 0.5, "last_layers": 1, "level": level, "counted": counted, "batch_size": 3}
    Chip(settings).apply(handle, data, Run.scratch(tmp_path))
    for name, layer in projected(handle, 1, mergers=True).items():
        torch.testing.assert_close(layer.weight.detach().double(), expected[name], atol=2e-6, rtol=1e-5)


def test_the_batch_size_changes_nothing_unless_padding_counts(data, tmp_path):
    def weights(**settings):
        handle = toy_handle()
        Chip({"top_frac": 0.5, "last_layers": 1, **settings}).apply(handle, data, Run.scratch(tmp_path))
        return next(iter(projected(handle, 1, mergers=False).values())).weight.detach()

    torch.testing.assert_close(weights(batch_size=1), weights(batch_size=8), atol=1e-5, rtol=1e-4)
    assert (weights(batch_size=1) - weights(batch_size=8, padding=True)).abs().max() > 1e-4


def test_the_share_of_neurons_is_rounded_down(data):
    layer = Layer(Sums(torch.eye(7).double(), torch.eye(7).double(), torch.ones(7).double()), [("a", "p")] * 7)
    shares = {0.29: 2, 0.1: 1, 0.25: 1, 0.99: 6, 1.0: 7}
    chosen = {share: len(Chip({"top_frac": share})._directions(layer, layer, 2)[0]) for share in shares}
    assert shares == chosen


def test_siblings_of_children_are_their_grandparents_retained_grandchildren():
    forget, retain = ([tuple(p.split("/")) for p in paths] for paths in (FORGET, RETAIN))
    found = {"/".join(node): {"/".join(s) for s in near} for node, near in pairs(forget, retain, 2)}
    assert {"a/p1/s1", "a/p1/s2", "b/p4/s7"} == set(found)
    assert {"a/p2/s3", "a/p2/s4", "a/p3/s5"} == found["a/p1/s1"]
    assert {"b/p5/s8", "b/p5/s9"} == found["b/p4/s7"]


def test_without_children_siblings_share_the_parent_and_without_those_all_stand_in():
    forget, retain = [("a", "p1")], [("a", "p2"), ("b", "p3")]
    assert [(("a", "p1"), [("a", "p2")])] == list(pairs(forget, retain, 2))
    assert [(("c", "p9"), retain)] == list(pairs([("c", "p9")], retain, 2))


def test_rank_is_the_first_that_holds_tau():
    directions = torch.diag(torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64))  # energies 9, 4, 1 of 14
    assert [1, 2, 3] == [basis(directions, tau).shape[1] for tau in (0.64, 0.92, 0.95)]


def test_mixed_and_merged_activations_by_hand():
    output = torch.tensor([[[1.0], [2.0], [4.0], [8.0]], [[1.0], [3.0], [5.0], [100.0]]])
    seen = torch.tensor([[True, True, False, False], [False] * 4])
    other = torch.tensor([[False, False, True, True], [True, True, True, False]])
    assert [0.3 * 1.5 + 0.7 * 6, 3.0] == pytest.approx(_mixed(output, seen, other, 0.3).plain[:, 0].tolist())
    rows = torch.tensor([[1.0], [-3.0], [10.0]])
    pooled = _merged(rows, torch.tensor([2, 1]), each=False)
    assert ([-1.0, 10.0], [1.0, 10.0], [1.0, 1.0]) == tuple(t.flatten().tolist() for t in pooled)
    tokens = _merged(rows, torch.tensor([2, 1]), each=True)
    assert ([-2.0, 10.0], [4.0, 10.0], [2.0, 1.0]) == tuple(t.flatten().tolist() for t in tokens)


def test_a_task_without_a_tree_is_refused(tmp_path):
    splits = toy_splits()
    with pytest.raises(UserError, match=r"no example has a tag 'node'"):
        Chip().apply(toy_handle(), splits, Run.scratch(tmp_path))
