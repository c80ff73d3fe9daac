"""MANU: measures against loops, scores and ranks by hand, what is zeroed and what is not."""

import math
from dataclasses import replace

import pytest
import torch
from mmunlearn.vlm.methods.manu import Manu, MeasureWeights, Totals, highest, measure, neurons, relative, totals

from mmunlearn.errors import UserError


def slow_measures(rows):
    """The four measures of one neuron from its list of outputs."""
    cut = [max(-1e3, min(1e3, value)) for value in rows]
    n = len(cut)
    mean = sum(cut) / n
    return {
        "absolute": sum(map(abs, cut)) / n,
        "frequency": sum(abs(v) > 0.1 for v in cut) / n,
        "deviation": math.sqrt(sum((v - mean) ** 2 for v in cut) / n),
        "rms": math.sqrt(sum(v * v for v in cut) / n),
    }


def test_measures_equal_loops():
    output = torch.tensor([[0.05, -2.0, 1e6], [0.2, 4.0, 0.0], [-0.3, -1.0, 3.0]])
    found = totals(output).measures()
    for neuron in range(3):
        for name, value in slow_measures(output[:, neuron].tolist()).items():
            assert value == pytest.approx(found[name][neuron].item()), name


def test_score_is_the_weighted_relative_excess():
    one = torch.ones(1, dtype=torch.float64)
    forget, retain = Totals(4 * one, one, 0 * one, 8 * one, 2), Totals(2 * one, one, 0 * one, 4 * one, 2)
    # mean |a| 2 against 1; deviation and rms 2 against sqrt 2
    ratio = 2 / (math.sqrt(2) + 1e-5) - 1
    assert 2 * (2 / (1 + 1e-5) - 1) + 2 * ratio + 2 * ratio == pytest.approx(
        relative(forget, retain, MeasureWeights()).item()
    )


def test_highest_ranks_all_layers_together():
    scores = {"a": torch.tensor([1.0, 9.0, 2.0]), "b": torch.tensor([8.0, 0.0])}
    none = {name: torch.zeros(len(s), dtype=torch.bool) for name, s in scores.items()}
    chosen = highest(scores, none, 0.5)
    assert ([False, True, False], [True, False]) == (chosen["a"].tolist(), chosen["b"].tolist())
    taken = none | {"b": torch.tensor([False, True])}
    chosen = highest(scores, taken, 0.5)  # what is gone already counts first
    assert ([False, True, False], [False, True]) == (chosen["a"].tolist(), chosen["b"].tolist())


@pytest.mark.parametrize("group", ["tower", "language"])
def test_statistics_are_each_layers_own_and_ignore_padding(group, task):
    handle, splits = task()
    layers = neurons(handle, group, None)
    forget = splits["forget"]
    with torch.no_grad():
        found = measure(handle, group, layers, forget, 5)
        outputs = {name: [] for name in layers}
        hooks = [
            layer.register_forward_hook(lambda m, i, o, name=name: outputs[name].append(o.reshape(-1, o.shape[-1])))
            for name, layer in layers.items()
        ]
        for example in forget:  # one by one: no padding anywhere
            if group == "tower":
                handle.hidden(handle.collate([example]))
            else:
                handle.hidden(handle.collate([replace(example, id=example.id + "#text", image=None)]))
        for hook in hooks:
            hook.remove()
    for name in layers:
        rows = torch.cat(outputs[name])
        assert len(rows) == found[name].tokens
        torch.testing.assert_close(totals(rows).measures()["rms"], found[name].measures()["rms"], rtol=1e-4, atol=1e-6)
    values = [found[name].measures()["rms"] for name in layers]
    assert not torch.equal(values[0], values[1])


def test_zeroes_exactly_the_share_and_nothing_else(task, run):
    handle, splits = task()
    before = {name: tensor.clone() for name, tensor in handle.module.state_dict().items()}
    layers = {group: neurons(handle, group, None) for group in ("tower", "language")}
    Manu({"fraction": 0.1}).apply(handle, splits, run)
    for part in layers.values():
        gone = sum(int((layer.weight == 0).all(1).sum()) for layer in part.values())
        assert int(0.1 * sum(layer.out_features for layer in part.values())) == gone
    pruned = {id(layer.weight) for part in layers.values() for layer in part.values()}
    for name, parameter in handle.module.named_parameters():
        if id(parameter) in pruned:
            same = (parameter == before[name]).all(1) | (parameter == 0).all(1)
            assert same.all(), name


def test_rounds_reach_the_same_number_of_neurons(task, run):
    handle, splits = task()
    layers = neurons(handle, "language", None)
    Manu({"fraction": 0.2, "rounds": 4, "groups": ["language"]}).apply(handle, splits, run)
    gone = sum(int((layer.weight == 0).all(1).sum()) for layer in layers.values())
    assert int(0.2 * sum(layer.out_features for layer in layers.values())) == gone


def test_last_layers_chooses_the_deepest_blocks(task):
    handle, _ = task()
    assert {"1"} == {name.split(".")[name.split(".").index("layers") + 1] for name in neurons(handle, "language", 1)}


def test_kept_features_do_not_hide_the_tower(task):
    handle, splits = task()
    handle = handle.adapted({"tower": "frozen"})
    assert handle._keeps_features()
    layers = neurons(handle, "tower", None)
    assert set(layers) == set(measure(handle, "tower", layers, splits["forget"], 8))


@pytest.mark.parametrize(("settings", "words"), [({"groups": ["head"]}, "groups"), ({"groups": []}, "groups")])
def test_unknown_groups_are_refused(settings, words, task, run):
    handle, splits = task()
    with pytest.raises(UserError, match=words):
        Manu(settings).apply(handle, splits, run)


def test_adapters_are_refused(task, run):
    handle, splits = task()
    with pytest.raises(UserError, match="lora"):
        Manu().apply(handle.adapted({"lora": {"r": 2, "alpha": 4}}), splits, run)


def test_text_only_data_has_nothing_for_the_tower(task, run):
    handle, splits = task()
    bare = splits["forget"].mapped(lambda e: replace(e, id=e.id + "#bare", image=None))
    with pytest.raises(UserError, match="tower"):
        Manu().apply(handle, splits | {"forget": bare}, run)
