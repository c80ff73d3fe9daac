"""Settings are resolved and judged without data, weights or training."""

import pytest
import yaml

from mmunlearn import registry
from mmunlearn.cli import main


@pytest.fixture
def made(monkeypatch):
    """Settings of every judge and metric that is made."""
    found = []
    load = registry.load

    def recording(kind, name, modality=None):
        cls = load(kind, name, modality)
        if kind not in ("judges", "metrics"):
            return cls
        return lambda settings=None: (found.append((kind, name, dict(settings or {}))), cls(settings or {}))[1]

    monkeypatch.setattr(registry, "load", recording)
    return found


def test_judges_and_metrics_get_the_folder_of_the_data(made, tmp_path, capsys):
    words = ["benchmark.name=unlearncanvas", "row=retrain", "request=style_Twemoji", f"root={tmp_path}"]
    assert 0 == main(["check", *words])
    roots = {(kind, name): settings["root"] for kind, name, settings in made if "root" in settings}
    assert {("judges", "style_object"), ("metrics", "fid_mini"), ("metrics", "kid_mini")} == set(roots)
    assert {str(tmp_path)} == set(roots.values())
    assert "Twemoji" == yaml.safe_load(capsys.readouterr().out)["benchmark"]["request"]["name"]


def test_settings_of_the_benchmark_reach_judges_and_metrics(made):
    words = ["benchmark.name=unlearncanvas", "row=retrain", "request=object_Dogs", "benchmark.heads.steps=7"]
    assert 0 == main(["check", *words])
    told = {name: settings for _, name, settings in made if "root" in settings}
    assert {"root": "", "steps": 7} == told["style_object"]
    assert {"steps": 7} == told["fid_mini"]["heads"]
    assert {"ua", "ira", "cra"} <= {name for _, name, _ in made}


def test_a_wrong_setting_of_a_judge_is_said(capsys):
    words = ["benchmark.name=unlearncanvas", "row=retrain", "request=object_Dogs", "benchmark.heads.stepps=7"]
    assert 2 == main(["check", *words])
    assert "stepps" in capsys.readouterr().err
