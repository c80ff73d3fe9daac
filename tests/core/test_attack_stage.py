"""Attacks on a finished run: figures against hand-made ones, resumed budgets, the control, refusals."""

import json

import numpy as np
import pytest
import torch

from mmunlearn.attack_stage import AttackOptions, make_stage, run_stage
from mmunlearn.attack_target import Target
from mmunlearn.attacks.base import Cost
from mmunlearn.attacks.relearn import Relearn
from mmunlearn.errors import UserError
from mmunlearn.handle import Decoding, weights_digest
from mmunlearn.records import Shard
from mmunlearn.responses import rows_folder
from mmunlearn.run import Run, TrainSettings
from mmunlearn.testing.tiny import TinyHandle, memorise, tiny_splits

OPTIONS = AttackOptions(membership=())


@pytest.fixture(scope="module")
def data():
    return tiny_splits()


@pytest.fixture(scope="module")
def trained(data):
    return memorise(TinyHandle(seed=0), data["train"], steps=60)


@pytest.fixture
def target(tmp_path, data, trained):
    return Target(tmp_path / "run", trained.copy(), data, "tiny", 3, TrainSettings(device="cpu"))


def _run(target):
    run = Run.scratch(target.path, target.seed, device="cpu")
    return run


def _stage(*, options=OPTIONS, **wanted):
    return make_stage(wanted, "tiny", options)


def _top1(handle, examples):
    answers = handle.respond(examples, Decoding(), 0)
    return float(np.mean([np.argmax(a.fields["logits"][0]) == a.fields["target"][0] for a in answers]))


def test_figures_equal_those_of_the_tampered_models(target):
    stage = _stage(name="relearn", steps=[0, 2, 5])
    results = run_stage(stage, target, _run(target))
    parts = stage.attack.parts(target.data, target.seed)
    models = stage.attack.tamper(target.handle.copy(), target.data, _run(target))
    for (label, tampered), point in zip(models, results["curve"], strict=True):
        assert label == point["budget"]
        for split in ("forget", "test", "retain"):
            assert _top1(tampered, target.data[split].examples) == point["cells"][f"{split}_top1"]["value"]
        for part, ids in parts.items():
            chosen = [e for e in target.data["forget"] if e.id in set(ids)]
            assert _top1(tampered, chosen) == point["cells"][f"{part}_top1"]["value"]
            assert len(ids) == point["cells"][f"{part}_top1"]["n"]


def test_the_clean_figure_stands_beside_the_attacked_one(target):
    results = run_stage(_stage(name="prune", fractions=[0.9]), target, _run(target))
    clean = _top1(target.handle, target.data["retain"].examples)
    assert clean == results["cells"]["prune/retain_top1"]["clean"] == results["clean"]["retain_top1"]["value"]
    assert results["cells"]["prune/retain_top1"]["value"] < clean


def test_cells_are_those_of_the_budget_with_most_recovered(target):
    results = run_stage(_stage(name="relearn", steps=[0, 1, 16]), target, _run(target))
    best = max(results["curve"], key=lambda p: p["cells"]["forget_held_out_top1"]["value"])
    assert best["budget"] == results["worst"]
    assert best["cells"]["test_nll"]["value"] == results["cells"]["relearn/test_nll"]["value"]


def test_results_are_stored_and_the_target_is_unchanged(target):
    before = weights_digest(target.handle.module)
    results = run_stage(_stage(name="quantise"), target, _run(target))
    stored = json.loads((target.path / "attacks" / "quantise" / "results.json").read_text())
    assert json.loads(json.dumps(results)) == stored
    assert before == weights_digest(target.handle.module)
    assert (2, "quantise", "WEIGHTS") == (stored["schema"], stored["attack"], stored["access"])
    assert not (target.path / "attacks" / "quantise" / "work").exists()


def test_a_killed_attack_makes_only_the_missing_budgets_and_ends_equal(target, monkeypatch):
    whole = run_stage(_stage(name="relearn", steps=[0, 1, 4], **{"as": "whole"}), target, _run(target))
    stage = _stage(name="relearn", steps=[0, 1, 4])
    tamper = Relearn.tamper

    def killed(self, handle, data, run):
        for label, tampered in tamper(self, handle, data, run):
            if label == "4 steps":
                raise KeyboardInterrupt
            yield label, tampered

    monkeypatch.setattr(Relearn, "tamper", killed)
    with pytest.raises(KeyboardInterrupt):
        run_stage(stage, target, _run(target))
    assert not (target.path / "attacks" / "relearn" / "results.json").exists()
    monkeypatch.undo()
    asked = []
    respond = TinyHandle.respond
    monkeypatch.setattr(
        TinyHandle, "respond", lambda self, e, how, seed: asked.append(len(e)) or respond(self, e, how, seed)
    )
    resumed = run_stage(stage, target, _run(target))
    assert 3 == len(asked)  # forget, test and retain of the last budget only
    assert [p["cells"] for p in whole["curve"]] == [p["cells"] for p in resumed["curve"]]


def test_a_finished_attack_asks_the_model_nothing_again(target, monkeypatch):
    stage = _stage(name="prune")
    first = run_stage(stage, target, _run(target))
    monkeypatch.setattr(TinyHandle, "respond", lambda *_: pytest.fail("asked again"))
    assert first == run_stage(stage, target, _run(target))


def test_other_settings_are_refused_with_the_difference_and_fresh_replaces(target):
    run_stage(_stage(name="prune", fractions=[0.1]), target, _run(target))
    other = _stage(name="prune", fractions=[0.2])
    with pytest.raises(UserError, match=r"other settings .*fractions"):
        run_stage(other, target, _run(target))
    assert ["0.2 pruned"] == [p["budget"] for p in run_stage(other, target, _run(target), fresh=True)["curve"]]


def test_another_model_in_the_run_starts_the_attack_afresh(target, data):
    stage = _stage(name="quantise")
    run_stage(stage, target, _run(target))
    changed = Target(target.path, TinyHandle(seed=9), data, "tiny", 3, target.train)
    results = run_stage(stage, changed, _run(changed))
    assert _top1(changed.handle, data["forget"].examples) == results["clean"]["forget_top1"]["value"]
    assert weights_digest(changed.handle.module) == results["target"]["weights"]


def test_the_control_gets_the_same_attack_and_can_come_later(target, data):
    retrained = memorise(TinyHandle(seed=1), data["retain"], steps=60)
    control = Target(target.path.parent / "retrain", retrained, data, "tiny", 3, target.train)
    stage = _stage(name="relearn", steps=[0, 4])
    alone = run_stage(stage, target, _run(target))
    both = run_stage(stage, target, _run(target), control=control)
    assert alone["curve"] == both["curve"]
    assert _top1(retrained, data["forget"].examples) == both["control"]["curve"][0]["cells"]["forget_top1"]["value"]
    assert "retrain" == both["control"]["run"]
    assert not control.path.exists()


def test_cost_is_the_metered_one(target):
    results = run_stage(_stage(name="relearn", steps=[0, 1, 3], examples=4), target, _run(target))
    spent = [(p["cost"]["queries"], p["cost"]["gradient_steps"]) for p in results["curve"]]
    assert [(0, 0), (4, 1), (12, 3)] == spent
    assert {"queries": 12, "gradient_steps": 3} == {k: results["cost"][k] for k in ("queries", "gradient_steps")}
    assert set(Cost.__dataclass_fields__) == set(results["cost"])


def test_relearn_time_and_ain_come_from_the_originals_accuracy(target, data):
    original = target.path.parent / "original"
    Run.scratch(original)
    from mmunlearn.evaluate import respond

    respond(Run.scratch(original, 0), target.handle, data["forget"], Decoding())
    hiding = target.handle.copy()
    with torch.no_grad():
        hiding.module[-1].bias[0] += 20.0
    victim = Target(target.path, hiding, data, "tiny", 3, target.train, original)
    never = memorise(TinyHandle(seed=1), data["retain"], steps=60)
    control = Target(target.path.parent / "retrain", never, data, "tiny", 3, target.train)
    wanted = {"name": "relearn", "steps": [0], "optimiser": {"lr": 0.3, "momentum": 0.9}}
    stage = make_stage(wanted, "tiny", AttackOptions(membership=(), relearn_time=True))
    found = run_stage(stage, victim, _run(victim), control=control)["relearn_time"]
    assert pytest.approx(0.95 * _top1(target.handle, data["forget"].examples)) == found["goal_accuracy"]
    assert 0 < found["epochs"] < found["control_epochs"]
    assert pytest.approx((found["epochs"] + 0.01) / (found["control_epochs"] + 0.01)) == found["ain"]
    with pytest.raises(UserError, match="names no original"):
        run_stage(stage, Target(target.path, hiding, data, "tiny", 3, target.train), _run(target), fresh=True)


def test_relearn_time_is_refused_before_hours_where_answers_are_no_classes(target, data):
    original = Run.scratch(target.path.parent / "original")
    Shard(rows_folder(original.path, "forget")).append({"id": e.id, "text": "yes"} for e in data["forget"])
    victim = Target(target.path, target.handle, data, "tiny", 3, target.train, original.path)
    stage = make_stage("relearn", "tiny", AttackOptions(membership=(), relearn_time=True))
    with pytest.raises(UserError, match="compares top-1 accuracy"):
        run_stage(stage, victim, _run(victim))
    assert not (target.path / "attacks").exists()


def test_unknown_splits_and_attacks_are_named(target):
    with pytest.raises(UserError, match="split 'forgot' is not in this data"):
        run_stage(_stage(name="prune", options=AttackOptions(splits=("forgot",))), target, _run(target))
    with pytest.raises(UserError, match="attack 'relern' is not known"):
        make_stage("relern", "tiny", OPTIONS)


def _gradient_norm_auc(handle, data):
    """AUC by pairs of the negated norms, a backward pass an example."""

    def norm(example):
        copy = handle.copy()
        copy.score(copy.collate([example])).nll.sum().backward()
        return float(torch.cat([p.grad.double().flatten() for _, p in copy.trainable()]).norm())

    inside, outside = ([norm(e) for e in data[name]] for name in ("forget", "unseen"))
    return np.mean([(a < b) + 0.5 * (a == b) for a in inside for b in outside])


def test_the_membership_suite_holds_the_norm_over_all_weights_of_target_and_control(target, data):
    control = Target(target.path.parent / "retrain", TinyHandle(seed=1), data, "tiny", 3, target.train)
    stage = _stage(name="membership")
    results = run_stage(stage, target, _run(target), control=control)
    assert "GRADIENTS" == results["access"]
    for side, handle in ((results, target.handle), (results["control"], control.handle)):
        cell = side["cells"]["membership/gradient_norm_auc"]
        assert _gradient_norm_auc(handle, data) == pytest.approx(cell["value"])
        assert cell["low"] <= cell["value"] <= cell["high"]
    assert cell["low"] < cell["high"]
    examples = len(data["forget"]) + len(data["unseen"])
    assert examples == results["cost"]["queries"]
    assert results == run_stage(stage, target, _run(target), control=control)


def test_the_norm_over_all_weights_is_left_out_where_it_is_not_asked_for(target, monkeypatch):
    monkeypatch.setattr("mmunlearn.gradient_norms.gradient_norms", lambda *_, **__: pytest.fail("it was computed"))
    options = AttackOptions(membership=(), gradient_norm=False)
    results = run_stage(_stage(name="membership", options=options), target, _run(target))
    named = run_stage(_stage(name="membership", signals=["loss"], **{"as": "loss"}), target, _run(target))
    for one in (results, named):
        assert "LOGITS" == one["access"]
        assert not any("gradient_norm" in name and "last" not in name for name in one["cells"])
