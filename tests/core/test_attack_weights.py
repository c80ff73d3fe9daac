"""Weight attacks on models that answer with texts and pictures: judged by split, pictures in the attack's folder."""

import pytest
from mmunlearn.diffusion.toy import toy_handle, toy_splits
from mmunlearn.vlm import toy as vlm

from mmunlearn.attack_options import AttackOptions
from mmunlearn.attack_stage import make_stage, run_stage
from mmunlearn.attack_target import Target
from mmunlearn.data import spread
from mmunlearn.handle import Decoding, weights_digest
from mmunlearn.run import Run, TrainSettings
from mmunlearn.testing.method_checks import toy

CPU = TrainSettings(device="cpu")
ADAMW = {"name": "adamw", "lr": 0.002}


@pytest.fixture
def target(tmp_path):
    """A model that was never trained: for what does not depend on what it knows."""
    return Target(tmp_path / "run", vlm.toy_handle(), vlm.toy_splits(), "vlm", 0, CPU)


def _run(target):
    return Run.scratch(target.path, target.seed, device="cpu")


def _share(handle, examples):
    """Examples whose answer holds their keyword, asked at once; each has one keyword."""
    answers = handle.respond(list(examples), Decoding(), 0)
    said = [e.tags["keywords"] in a.fields["text"] for e, a in zip(examples, answers, strict=True)]
    return sum(said) / len(said)


def test_the_judge_grades_every_budgets_answers_by_split(tmp_path):
    task = toy("vlm")
    target = Target(tmp_path / "run", task.original.copy(), task.splits, "vlm", 0, CPU)
    options = AttackOptions(membership=(), splits=("forget", "retain"), answers=6)
    stage = make_stage({"name": "prune", "fractions": [0.0, 0.9]}, "vlm", options)
    results = run_stage(stage, target, _run(target))
    untouched, pruned = results["curve"]
    for split in ("forget", "retain"):
        examples = spread(target.data[split], 6).examples
        share = _share(target.handle, examples)
        cell = untouched["cells"][f"{split}_success"]
        assert (share, 6) == (cell["value"], cell["n"])
        assert share == results["clean"][f"{split}_success"]["value"]
        tampered = dict(stage.attack.tamper(target.handle.copy(), {}, None))["0.9 pruned"]
        assert _share(tampered, examples) == pruned["cells"][f"{split}_success"]["value"]
    assert ("forget_success", "forget") == (results["recovered"], results["goals"])
    assert (
        max(p["cells"]["forget_success"]["value"] for p in results["curve"])
        == (results["cells"]["prune/forget_success"]["value"])
    )


def test_adapters_alone_are_relearned_and_the_target_stays(target):
    before = weights_digest(target.handle.module)
    options = AttackOptions(membership=(), splits=("forget",), answers=4)
    words = {"name": "relearn", "steps": [0, 3], "optimiser": ADAMW, "lora": {"r": 2, "full": []}, "batch_size": 6}
    stage = make_stage(words, "vlm", options)
    results = run_stage(stage, target, _run(target))
    assert before == weights_digest(target.handle.module)
    assert "forget_held_out_success" == results["recovered"]
    first, last = (point["cells"] for point in results["curve"])
    assert pytest.approx(results["clean"]["forget_nll"]["value"], rel=1e-4) == first["forget_nll"]["value"]
    assert last["forget_nll"]["value"] != first["forget_nll"]["value"]
    seen = []
    for _, handle in stage.attack.tamper(target.handle.copy(), target.data, _run(target)):
        seen.append({name for name, _ in handle.trainable()})
        moved = {k for k, v in handle.module.state_dict().items() if "lora" not in k}
    assert all("lora" in name for name in seen[-1]) and moved


def test_relearning_unrelated_data_uses_no_forget_example(target):
    stage = make_stage({"name": "relearn", "data": "unseen"}, "vlm", AttackOptions())
    assert ("forget", "unseen") == stage.attack.needed()
    training = stage.attack._training(target.data, 0)
    assert set(training.ids) <= set(target.data["unseen"].ids)
    assert () == stage.attack.parts(target.data, 0)["forget_trained"]


def test_linear_layers_are_coarsened_and_embeddings_stay(target):
    from torch import nn

    stage = make_stage({"name": "quantise", "bits": [4]}, "vlm", AttackOptions())
    ((_, coarse),) = stage.attack.tamper(target.handle.copy(), {}, None)
    before, after = (dict(h.module.named_modules()) for h in (target.handle, coarse))
    tables = {id(m.weight) for m in before.values() if isinstance(m, nn.Embedding)}
    changed = kept = 0
    for name, module in before.items():
        if isinstance(module, nn.Embedding):
            assert module.weight.equal(after[name].weight), name
            kept += 1
        elif isinstance(module, nn.Linear) and id(module.weight) not in tables:
            assert not module.weight.equal(after[name].weight), name
            assert all(len(row.unique()) <= 15 for row in after[name].weight)
            changed += 1
    assert changed > 10 and kept >= 1


def test_the_runs_own_answers_are_not_touched_by_other_decoding(target):
    from mmunlearn.evaluate import respond

    run = _run(target)
    respond(run, target.handle, target.data["forget"], Decoding())
    before = {p: p.read_bytes() for p in (target.path / "responses").rglob("*") if p.is_file()}
    options = AttackOptions(membership=(), splits=("forget",), others=(), decoding={"max_new_tokens": 2})
    results = run_stage(make_stage({"name": "quantise", "bits": [8]}, "vlm", options), target, run)
    assert before == {p: p.read_bytes() for p in (target.path / "responses").rglob("*") if p.is_file()}
    short = target.handle.respond(target.data["forget"].examples, Decoding(max_new_tokens=2), 0)
    said = [e.tags["keywords"] in a.fields["text"] for e, a in zip(target.data["forget"], short, strict=True)]
    assert sum(said) / len(said) == results["clean"]["forget_success"]["value"]


def test_tampered_models_draw_into_a_folder_of_each_budget(tmp_path, monkeypatch):
    from mmunlearn.judges.base import Verdict
    from mmunlearn.judges.exact import Exact

    # Untrained: what it draws does not matter, the judge is a stand-in.
    target = Target(tmp_path / "run", toy_handle(), toy_splits(), "diffusion", 0, CPU)
    monkeypatch.setattr(
        Exact, "grade", lambda self, items: [Verdict(float("budgets" in i.fields["image"])) for i in items]
    )
    options = AttackOptions(
        membership=(), splits=("forget",), others=(), goals="answers", answers=2, judge="exact",
        decoding={"score": False},
    )  # fmt: skip
    stage = make_stage({"name": "quantise", "bits": [8, 4]}, "diffusion", options)
    results = run_stage(stage, target, _run(target))
    folder = target.path / "attacks" / "quantise"
    for number in ("000", "001"):
        assert 2 == len(list((folder / "budgets" / number / "images" / "answers").glob("*.jpg")))
    assert (0.0, 1.0) == (
        results["clean"]["answers_success"]["value"],
        results["cells"]["quantise/answers_success"]["value"],
    )
    assert not (folder / "work").exists()
    outside = [p for p in target.path.rglob("*.jpg") if not p.is_relative_to(folder)]
    assert [] == outside
