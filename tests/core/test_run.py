"""Run directory: resume, refusal, lock, full and read-only disks, leftovers of a crash."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmunlearn.errors import UserError
from mmunlearn.run import Run

ROOT = Path(__file__).parents[2]
SETTINGS = {"seed": 3, "method": {"name": "npo", "beta": 0.1}, "train": {"log_every": 10, "micro_batch": None}}


def other(**over):
    return SETTINGS | over


def test_the_same_settings_open_it_again_and_what_is_there_stays(tmp_path):
    with Run.open(tmp_path / "run", SETTINGS) as run:
        run.event("step", n=1)
        run.finish("method", "abc", seconds=2.0)
    with Run.open(tmp_path / "run", SETTINGS) as run:
        assert [1] == [e["n"] for e in run.events("step")]
        assert run.done("method", "abc") and not run.done("method", "other") and not run.done("else", "abc")
        assert 2.0 == run.stage_facts("method")["seconds"] and 3 == run.seed
    assert SETTINGS == Run.read(tmp_path / "run")


def test_other_settings_are_refused_with_the_difference_unless_fresh(tmp_path):
    Run.open(tmp_path / "run", SETTINGS).close()
    (tmp_path / "run/model").mkdir()
    (tmp_path / "run/model/weights").write_text("old")
    changed = other(method={"name": "npo", "beta": 0.2})
    with pytest.raises(UserError, match=r"method.beta 0.1 -> 0.2") as caught:
        Run.open(tmp_path / "run", changed)
    assert "--fresh" in str(caught.value)
    assert "old" == (tmp_path / "run/model/weights").read_text()
    with Run.open(tmp_path / "run", changed, fresh=True) as run:
        assert changed == Run.read(run.path)
    assert ["config.yaml", "run.lock"] == sorted(os.listdir(tmp_path / "run"))


def test_how_work_is_shown_and_spread_may_change(tmp_path):
    Run.open(tmp_path / "run", SETTINGS).close()
    spread = {"log_every": 1, "micro_batch": None, "threads": 2, "device": "cpu", "checkpoint_every": 5}
    Run.open(tmp_path / "run", other(train=spread)).close()
    with pytest.raises(UserError, match=r"train\.micro_batch"):
        Run.open(tmp_path / "run", other(train={"micro_batch": 4}))


def test_a_second_process_is_refused_and_the_next_one_is_not(tmp_path):
    code = (
        "import sys; from pathlib import Path; from mmunlearn.run import Run\n"
        "from mmunlearn.errors import UserError\n"
        "try:\n    Run.open(Path(sys.argv[1]), {'seed': 3})\n"
        "except UserError as error:\n    print(error); sys.exit(2)\n"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "run")]
    with Run.open(tmp_path / "run", {"seed": 3}):
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
        assert 2 == done.returncode and "another process works on this run" in done.stdout
    assert 0 == subprocess.run(words, cwd=ROOT, capture_output=True).returncode


def test_a_helper_process_needs_no_lock(tmp_path):
    with Run.open(tmp_path / "run", SETTINGS):
        assert 3 == Run.open(tmp_path / "run", SETTINGS, main=False).seed


def test_folders_that_are_no_runs_are_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    for fresh in (False, True):
        with pytest.raises(UserError, match=r"is not a run \(thesis.tex"):
            Run.open(tmp_path, SETTINGS, fresh=fresh)
    with pytest.raises(UserError, match="is a file"):
        Run.open(tmp_path / "thesis.tex", SETTINGS)
    with pytest.raises(UserError, match=r"config.yaml is missing"):
        Run.read(tmp_path)
    assert ["thesis.tex"] == os.listdir(tmp_path)


def test_an_interrupted_replacement_is_still_known_as_a_run(tmp_path, monkeypatch):
    with Run.open(tmp_path / "run", SETTINGS) as run:
        for name in ("events.jsonl", "zzz"):
            (run.path / name).write_text("")
    removed = []

    def break_off(self, *args, **kwargs):
        removed.append(self.name)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "unlink", break_off)
        Run.open(tmp_path / "run", SETTINGS, fresh=True)
    assert removed != ["config.yaml"]
    Run.open(tmp_path / "run", SETTINGS, fresh=True).close()
    assert ["config.yaml", "run.lock"] == sorted(os.listdir(tmp_path / "run"))


def test_what_a_crash_left_is_swept_up(tmp_path):
    with Run.open(tmp_path / "run", SETTINGS) as run:
        run.event("step", n=1)
    for name in (".model.ab.tmp", "stages/.x.json.ab.tmp", "checkpoints/.step.ab.tmp", ".model.ab.old"):
        (run.path / name).parent.mkdir(exist_ok=True)
        (run.path / name).mkdir()
        (run.path / name / "f").write_text("")
    (run.path / ".config.yaml.ab.tmp").write_text("")
    with open(run.path / "events.jsonl", "a") as stream:
        stream.write('{"kind": "step", "n"')  # a torn line
    with Run.open(tmp_path / "run", SETTINGS) as run:
        run.event("step", n=2)
        assert [1, 2] == [e["n"] for e in run.events("step")]
    assert [] == list(run.path.rglob(".*"))


def test_a_damaged_settings_file_is_named(tmp_path):
    Run.open(tmp_path / "run", SETTINGS).close()
    for content in ("a: [", "- 1", ""):
        (tmp_path / "run/config.yaml").write_text(content)
        with pytest.raises(UserError, match=r"config.yaml|other settings"):
            Run.open(tmp_path / "run", SETTINGS)


def test_checkpoints_keep_the_newest_complete_one(tmp_path):
    run = Run.scratch(tmp_path)
    assert run.latest() is None
    for step in (5, 10, 10):
        run.save(step, {"step": step, "t": torch.full((2,), float(step))})
    assert ["LAST", "step-00000010"] == sorted(os.listdir(tmp_path / "checkpoints"))
    (tmp_path / "checkpoints/step-00000015").mkdir()  # killed before LAST was moved
    assert 10 == run.latest()["step"] and [10.0, 10.0] == run.latest()["t"].tolist()
    run.drop_checkpoints()
    assert run.latest() is None


def test_a_full_disk_is_told_and_the_last_checkpoint_stays(tmp_path, monkeypatch):
    run = Run.scratch(tmp_path)
    run.save(1, {"step": 1})

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, pytest.raises(UserError, match="No space left"):
        patch.setattr("os.fsync", full)
        run.save(2, {"step": 2})
    assert 1 == run.latest()["step"]
    assert ["LAST", "step-00000001"] == sorted(os.listdir(tmp_path / "checkpoints"))
    with monkeypatch.context() as patch, pytest.raises(UserError, match="No space left"):
        patch.setattr("builtins.open", full)
        run.event("step")


def test_a_read_only_place_is_told(tmp_path, monkeypatch):
    def read_only(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "mkdir", read_only)  # root may write anywhere, so the system's answer is given here
    with pytest.raises(UserError, match="Read-only file system"):
        Run.open(tmp_path / "run", SETTINGS)


def test_bad_engine_settings_are_a_users_mistake(tmp_path):
    with pytest.raises(UserError, match=r"train\.micro_batch"):
        Run.open(tmp_path / "run", other(train={"micro_batch": 0}))
    assert [] == os.listdir(tmp_path)
