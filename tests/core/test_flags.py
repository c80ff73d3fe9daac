"""Flags of a run folder; the detectors behind them are tested among the metrics."""

import numpy as np

from mmunlearn.evaluate import Comparison
from mmunlearn.flags import flags_of
from mmunlearn.records import Rows, Shard
from mmunlearn.run import Run


def rows(logits, target=None):
    logits = np.asarray(logits, dtype=float)
    target = np.arange(len(logits)) % logits.shape[-1] if target is None else target
    columns = {"logits": logits[:, None, :], "target": np.asarray(target)[:, None].astype(float)}
    return Rows(tuple(f"{i:03d}" for i in range(len(logits))), columns)


def draw(n=40, k=4):
    return np.random.default_rng(0).normal(size=(n, k))


def store(run, split, logits):
    table = rows(logits)
    found = ({"id": i, "logits": table["logits"][n], "target": table["target"][n]} for n, i in enumerate(table.ids))
    Shard(run.path / "responses" / split).append(found)


def test_flags_of_a_run(tmp_path):
    original, same, other = (Run.scratch(tmp_path / name) for name in ("original", "same", "other"))
    one = np.zeros((40, 4))
    one[:, 0] = 9
    for run, forget, test in ((original, draw(), draw()), (same, draw(), draw()), (other, -draw(), one)):
        store(run, "forget", forget)
        store(run, "test", test)
    compare = Comparison(original=original.path)
    assert ["noop"] == flags_of(same, {"weights_unchanged": False}, compare, "npo")
    assert ["collapse"] == flags_of(other, {"weights_unchanged": False}, compare, "npo")
    assert ["noop", "collapse"] == flags_of(other, {"weights_unchanged": True}, compare, "npo")
    assert [] == flags_of(same, {"weights_unchanged": True}, compare, "retrain")
    assert ["collapse"] == flags_of(other, {"weights_unchanged": True}, compare, "as_given", attacked=True)
    assert ["noop"] == flags_of(same, {"weights_unchanged": True}, compare, "as_given", attacked=True)
    assert [] == flags_of(same, {"weights_unchanged": False}, Comparison(), "npo")


def store_texts(run, split, texts, nll):
    targets = (f"This person lives in street {n}." for n in range(len(texts)))
    found = (
        {"id": f"{n:03d}", "text": text, "target": target, "nll": nll, "count": 4}
        for n, (text, target) in enumerate(zip(texts, targets, strict=True))
    )
    Shard(run.path / "responses" / split).append(found)


def test_flags_of_texts(tmp_path):
    said = [f"She lives in street {n}." for n in range(40)]
    cases = {
        "same": (said, 2.0, said, ["noop"]),
        "surer": (said, 2.2, said, []),
        "other": (said[::-1], 2.0, said, []),
        "one answer": (said[::-1], 2.0, ["I do not know."] * 40, ["collapse"]),
        "no answers": (said[::-1], 2.0, [*said[:20], *["the the the the the the"] * 20], ["collapse"]),
    }
    original = Run.scratch(tmp_path / "original")
    store_texts(original, "forget", said, 2.0)
    for name, (forget, nll, test, expected) in cases.items():
        run = Run.scratch(tmp_path / name)
        store_texts(run, "forget", forget, nll)
        store_texts(run, "test", test, 1.0)
        compare = Comparison(original=original.path)
        assert expected == flags_of(run, {"weights_unchanged": False}, compare, "ga"), name


def store_pictures(run, hashes):
    found = ({"id": f"{n:03d}", "image": f"{n}.png", "image_hash": text} for n, text in enumerate(hashes))
    Shard(run.path / "responses" / "answers").append(found)
    (run.path / "images" / "answers").mkdir(parents=True)


def test_a_method_that_changes_at_most_one_picture_in_a_hundred_did_nothing(tmp_path):
    before = [f"{n}" for n in range(200)]
    original = Run.scratch(tmp_path / "original")
    store_pictures(original, before)
    for changed, expected in ((0, ["noop"]), (2, ["noop"]), (3, []), (200, [])):
        run = Run.scratch(tmp_path / f"{changed}")
        store_pictures(run, [*("other" for _ in range(changed)), *before[changed:]])
        compare = Comparison(original=original.path)
        assert expected == flags_of(run, {"weights_unchanged": False}, compare, "esd"), changed
        assert [] == flags_of(run, {"weights_unchanged": False}, Comparison(), "esd")
