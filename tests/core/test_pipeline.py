"""One run from settings to results: what it writes, what it skips the second time, what it refuses."""

import json
import math

import pytest
import yaml

from mmunlearn import registry
from mmunlearn.cards import EvaluationPlan
from mmunlearn.errors import UserError
from mmunlearn.evaluate import Comparison
from mmunlearn.metrics.base import Value
from mmunlearn.pipeline import (
    RunSettings,
    cell_json,
    execute,
    limited,
    make_benchmark,
    make_method,
    rescore,
    start_handle,
    wanted_splits,
)
from mmunlearn.settings import build
from mmunlearn.testing.benchmark_checks import tiny_root
from mmunlearn.testing.tiny import tiny_splits

MUFAC = registry.load("benchmarks", "mufac", "vision")


def settings(**more):
    method = {"name": "finetune", "epochs": 1, "batch_size": 64, "optimiser": {"lr": 0.01}}
    content = {
        "benchmark": {"name": "mufac", **MUFAC.tiny_settings}, "root": str(tiny_root(MUFAC)), "seed": 3,
        "model": dict(MUFAC.tiny_model), "method": method, "train": {"device": "cpu"},
    }  # fmt: skip
    return build(RunSettings, {**content, **more}, "run")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run and what `execute` returned."""
    path = tmp_path_factory.mktemp("pipeline") / "run"
    return path, execute(settings(), path)


def test_results_on_disk_are_those_returned_and_the_manifest_comes_last(finished):
    path, results = finished
    assert results == json.loads((path / "results.json").read_text())
    files = json.loads((path / "manifest.json").read_text())["files"]
    assert {"results.json", "config.yaml", "model/weights.safetensors"} <= set(files)
    assert {"benchmark": "mufac", "method": "finetune", "row": "finetune", "seed": 3}.items() <= results.items()
    assert {"test/top1", "forget/top1", "forget/mia"} <= set(results["cells"])
    assert not (path / "checkpoints").exists()


def test_the_same_again_trains_nothing_and_gives_the_same(finished, monkeypatch):
    path, results = finished
    method = registry.load("methods", "finetune")
    monkeypatch.setattr(method, "phases", lambda *_: pytest.fail("the method ran again"))
    again = execute(settings(), path)
    assert results["cells"] == again["cells"] and results["cost"]["seconds"] == again["cost"]["seconds"]


def test_other_settings_are_refused_with_the_difference(finished):
    path, _ = finished
    with pytest.raises(UserError, match=r"seed 3 -> 4"):
        execute(settings(seed=4), path)


def test_rescoring_reads_the_responses_and_adds_the_comparison(finished, tmp_path):
    path, results = finished
    found = rescore(path, Comparison(original=path))
    assert results["cells"]["test/top1"] == found["cells"]["test/top1"]
    assert "noop" in found["flags"]  # compared with itself


def test_a_broken_input_leaves_no_folder_behind(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        execute(settings(root=str(tmp_path / "nowhere")), tmp_path / "run")
    with pytest.raises(UserError):
        execute(settings(start=str(tmp_path / "nomodel")), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_names_are_required_and_checked():
    with pytest.raises(UserError, match=r"benchmark\.name: is required"):
        make_benchmark(settings(benchmark={}))
    with pytest.raises(UserError, match=r"method\.name: is required"):
        make_method(settings(method={}))
    with pytest.raises(UserError, match="Did you mean scrub"):
        make_method(settings(method={"name": "scrubb"}))


def test_a_start_that_begins_with_dots_is_relative_to_the_run(finished, tmp_path):
    path, _ = finished
    benchmark = make_benchmark(settings())
    handle = start_handle(settings(start=f"../{path.name}", model={}), benchmark, path.parent / "other")
    assert handle.settings.size_px == start_handle(settings(), benchmark, tmp_path).settings.size_px


def test_splits_of_plans_and_settings_in_order_without_repeats():
    plans = (EvaluationPlan(name="a", split="forget", against="unseen"), EvaluationPlan(name="b", split="test"))
    asked = settings(evaluate={"splits": ["test", "retain"]})
    assert ["forget", "unseen", "test", "retain"] == wanted_splits(plans, asked)


def test_a_limit_keeps_the_first_examples():
    split = tiny_splits()["retain"]
    assert split.ids[:3] == limited(split, 3).ids
    assert split.ids == limited(split, 0).ids == limited(split, 10_000).ids


def test_a_guard_is_not_called_idle_for_leaving_the_weights(tmp_path, finished, monkeypatch):
    path, _ = finished
    with_guard = settings(start=str(path), model={}, method={"name": "as_given"})
    assert "noop" in execute(with_guard, tmp_path / "plain")["flags"]
    method = registry.load("methods", "as_given")
    monkeypatch.setattr(method, "edit", lambda self, handle, data, run: setattr(handle, "guard", object()))
    assert "noop" not in execute(with_guard, tmp_path / "guarded")["flags"]


def test_a_run_without_a_request_is_stored_as_it_always_was(finished):
    path, results = finished
    stored = yaml.safe_load((path / "config.yaml").read_text())
    assert not {"request", "earlier"} & {*stored, *results}


def test_cells_that_are_no_number_become_null():
    assert {"value": None, "n": 0, "stderr": None, "unscored": 0, "flag": None} == cell_json(Value(math.nan, 0))
    assert {"value": 0.5, "n": 4, "stderr": None, "unscored": 0, "flag": None} == cell_json(Value(0.5, 4, math.inf))
