"""The verb evaluate: another judge by the command line, its mistakes in one line; the run's identity stays."""

import json

import pytest

from mmunlearn import registry
from mmunlearn.cards import EvaluationPlan
from mmunlearn.cli import main
from mmunlearn.pipeline import RunSettings, execute, read_settings
from mmunlearn.testing.benchmark_checks import tiny_root


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["representation.images=pictures"], "need --representation"),
        (["method.lr=3"], "only evaluate.judge_backend"),
        (["evaluate.limit=3"], "only evaluate.judge_backend"),
        (["evaluate.judge_backend=3"], "only evaluate.judge_backend"),
        (["judge_backend.kind=chat"], "only evaluate.judge_backend"),
    ],
)
def test_mistakes_are_one_line_and_exit_two(words, said, tmp_path, capsys):
    (tmp_path / "config.yaml").write_text("benchmark: {name: mufac}\nmethod: {name: retrain}\n")
    before = sorted(tmp_path.iterdir())
    assert 2 == main(["evaluate", str(tmp_path), *words])
    assert said in capsys.readouterr().err
    assert before == sorted(tmp_path.iterdir())


@pytest.fixture
def settings(monkeypatch):
    """A tiny run of MUFAC whose one evaluation is graded by a model judge with a rule in the model's place."""
    benchmark = registry.load("benchmarks", "mufac", "vision")
    rule = {"kind": "rule", "rule": "exact"}
    plan = EvaluationPlan(
        name="graded", split="test", metrics=("mean_verdict",),
        judge={"name": "model_judge", "template": "mmubench_multi_hop", "backend": rule},
    )  # fmt: skip
    monkeypatch.setattr(benchmark, "plans", lambda self, table: (plan,))
    method = {"name": "retrain", "epochs": 1, "batch_size": 16, "optimiser": {"name": "sgd", "lr": 0.01}}
    model = dict(benchmark.tiny_model)
    content = {
        "benchmark": {"name": "mufac", **benchmark.tiny_settings},
        "root": str(tiny_root(benchmark)),
        "model": model,
        "method": method,
    }
    return RunSettings.model_validate(content)


def test_another_backend_grades_and_the_run_stays_the_same_run(settings, tmp_path, monkeypatch):
    run = tmp_path / "run"
    first = execute(settings, run)
    # Pictures get no text, so the template leaves every row unscored, and says so.
    cell = first["cells"]["graded/mean_verdict"]
    assert (0, None) == (cell["n"], cell["value"]) and cell["unscored"] > 0
    assert "judge_backend" not in first
    other = {"kind": "rule", "rule": "refusal"}
    second = execute(read_settings(run), run, judge_backend=other)
    assert other == second["judge_backend"] == json.loads((run / "results.json").read_text())["judge_backend"]
    assert settings == read_settings(run)
    assert "judge_backend" not in execute(read_settings(run), run)


def test_a_judge_that_cannot_work_is_said_before_the_run_begins(settings, tmp_path):
    from mmunlearn.errors import UserError

    with pytest.raises(UserError, match="Did you mean refusal"):
        execute(settings, tmp_path / "run", judge_backend={"kind": "rule", "rule": "refusel"})
    assert not (tmp_path / "run").exists()
