"""Grids: order, resuming, failures that stop nothing else, and the file format."""

import sys
from pathlib import Path

import pytest
import yaml

from mmunlearn import grid
from mmunlearn.errors import UserError
from mmunlearn.grid import Grid, JobSpec, Outcome, read_grid
from mmunlearn.launchers.board import Board, Lines
from mmunlearn.launchers.debug import Debug

# A stand-in for the command line: `make FOLDER` finishes a run, `fail` fails, `note FILE` appends a line.
ENTRY = """
import os
from pathlib import Path

def main(argv):
    verb, *rest = argv
    print("doing", *argv)
    if verb == "make":
        Path(rest[0]).mkdir(parents=True, exist_ok=True)
        with open(Path(rest[0]).parent / "order", "a") as stream:
            stream.write(Path(rest[0]).name + "\\n")
        (Path(rest[0]) / "manifest.json").write_text("{}")
        return 0
    if verb == "interrupt":
        return 130
    return 1 if verb == "fail" else 0
"""


@pytest.fixture
def launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "grid_entry.py").write_text(ENTRY)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield Debug(tmp_path / "logs", entry="grid_entry:main")
    sys.modules.pop("grid_entry", None)


def make(folder: Path, *after: str) -> JobSpec:
    return JobSpec(folder.name, ("make", str(folder)), folder, after=after)


def run(jobs, launcher, notes: Path | None = None) -> dict[str, Outcome]:
    done = Grid(jobs, notes).run(launcher, Board([job.name for job in jobs]))
    assert [job.name for job in jobs] == [result.name for result in done]
    return {result.name: result.outcome for result in done}


def test_jobs_run_after_what_they_need(launcher, tmp_path: Path) -> None:
    jobs = [make(tmp_path / "c", "b"), make(tmp_path / "b", "a"), make(tmp_path / "a")]
    run(jobs, launcher)
    assert ["a", "b", "c"] == (tmp_path / "order").read_text().split()


def test_same_grid_again_runs_only_what_is_missing(launcher, tmp_path: Path) -> None:
    jobs = [make(tmp_path / name) for name in "abc"]
    run(jobs[:2], launcher)
    assert {"a": Outcome.COMPLETE, "b": Outcome.COMPLETE, "c": Outcome.DONE} == run(jobs, launcher)
    assert ["a", "b", "c"] == (tmp_path / "order").read_text().split()


def test_failed_job_stops_only_those_that_come_after_it(launcher, tmp_path: Path) -> None:
    jobs = [
        JobSpec("bad", ("fail",)),
        make(tmp_path / "on_bad", "bad"),
        make(tmp_path / "free"),
        make(tmp_path / "late", "on_bad"),
    ]
    found = run(jobs, launcher)
    assert {
        "bad": Outcome.FAILED,
        "on_bad": Outcome.BLOCKED,
        "free": Outcome.DONE,
        "late": Outcome.BLOCKED,
    } == found


def test_failed_job_tells_what_it_printed(launcher) -> None:
    (result,) = Grid([JobSpec("bad", ("fail", "loudly"))]).run(launcher, Board(["bad"]))
    assert (1, "doing fail loudly") == (result.code, result.tail)
    assert not result.ok


def test_complete_folder_of_another_command_is_not_taken_for_done(launcher, tmp_path: Path) -> None:
    folder, notes = tmp_path / "a", tmp_path / "jobs"
    first = JobSpec("a", ("make", str(folder)), folder)
    other = JobSpec("a", ("make", str(folder), "method.beta=2"), folder)
    run([first], launcher, notes)
    assert {"a": Outcome.COMPLETE} == run([first], launcher, notes)
    assert {"a": Outcome.DONE} == run([other], launcher, notes)


def test_complete_folder_of_a_changed_settings_file_is_not_taken_for_done(launcher, tmp_path: Path) -> None:
    folder, notes, config = tmp_path / "a", tmp_path / "jobs", tmp_path / "x.yaml"
    config.write_text("seed: 1")
    job = JobSpec("a", ("make", str(folder), "--config", str(config)), folder)
    run([job], launcher, notes)
    config.write_text("# a comment\nseed: 1")
    assert {"a": Outcome.COMPLETE} == run([job], launcher, notes)
    config.write_text("seed: 2")
    assert {"a": Outcome.DONE} == run([job], launcher, notes)


def test_interrupted_job_interrupts_the_grid(launcher) -> None:
    with pytest.raises(KeyboardInterrupt):
        Grid([JobSpec("a", ("interrupt",))]).run(launcher, Board(["a"]))


def test_names_must_differ() -> None:
    with pytest.raises(UserError, match="2 jobs are called 'a'"):
        Grid([JobSpec("a", ()), JobSpec("a", ())])


def test_job_after_an_unknown_one_is_refused() -> None:
    with pytest.raises(UserError, match="'a' comes after 'x', which is no job"):
        Grid([JobSpec("a", (), after=("x",))])


def test_circle_is_refused() -> None:
    with pytest.raises(UserError, match="in a circle: a, b"):
        Grid([JobSpec("a", (), after=("b",)), JobSpec("b", (), after=("a",)), JobSpec("c", ())])


def test_too_many_jobs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid, "MAX_JOBS", 2)
    with pytest.raises(UserError, match="3 jobs are more than 2"):
        Grid([JobSpec(name, ()) for name in "abc"])


def test_lines_board_prints_a_line_a_change(capsys) -> None:
    board = Lines(["a", "b"])
    board.show("a", "running", "step 1")
    board.show("a", "running", "step 2")
    board.show("a", "failed", "out of memory", 2.0)
    assert ["[0/2] a: running", "[1/2] a: failed in 2.0 s: out of memory"] == capsys.readouterr().out.splitlines()


# ---- grid.yaml -----------------------------------------------------------------------------------------------------
def grid_file(folder: Path, **more) -> Path:
    content = {
        "settings": {"benchmark": {"name": "mufac"}, "method": {"name": "npo"}},
        "axes": {"method.beta": [0.1, 1], "seed": [0, 1, 2]},
        "out": str(folder / "out"),
    }
    path = folder / "grid.yaml"
    path.write_text(yaml.safe_dump({**content, **more}))
    return path


def test_grid_file_expands_to_the_product_of_its_axes(tmp_path: Path) -> None:
    jobs, out = read_grid(grid_file(tmp_path))
    assert tmp_path / "out" == out
    assert [
        "beta-0.1_seed-0",
        "beta-0.1_seed-1",
        "beta-0.1_seed-2",
        "beta-1_seed-0",
        "beta-1_seed-1",
        "beta-1_seed-2",
    ] == [job.name for job in jobs]
    assert (
        "unlearn",
        "benchmark.name=mufac",
        "method.name=npo",
        "method.beta=0.1",
        "seed=0",
        "--out",
        str(out / "beta-0.1_seed-0"),
    ) == jobs[0].argv


def test_values_survive_the_way_through_the_command_line(tmp_path: Path) -> None:
    from mmunlearn.settings import with_words

    values = [None, True, "yes", "a, b", [1, 2.5, "x"], 1e-05, "1e-5", {"k": [0]}, ""]
    jobs, _ = read_grid(grid_file(tmp_path, settings={}, axes={"a.b": values}))
    assert values == [with_words({}, [word for word in job.argv if "=" in word])["a"]["b"] for job in jobs]


def test_axes_with_the_same_last_name_keep_their_whole_name(tmp_path: Path) -> None:
    jobs, _ = read_grid(grid_file(tmp_path, axes={"method.lr": [1], "train.lr": [2]}))
    assert "method.lr-1_train.lr-2" == jobs[0].name


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"axes": {"seed": []}}, "axes.seed is empty"),
        ({"axes": {"seed": [1, 1]}}, "axes.seed has a value twice"),
        ({"axes": {"a": list(range(200)), "b": list(range(60))}}, "12,000 runs are more than 10,000"),
        ({"axes": {"name": ["a/b", "a b"]}}, "same folder name"),
        ({"axis": {}}, "axis: no such setting. Did you mean axes"),
        ({"axes": 3}, "axes"),
    ],
)
def test_wrong_grid_file_is_refused(more: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        read_grid(grid_file(tmp_path, **more))


def test_plan_prints_the_commands_and_runs_nothing(tmp_path: Path, capsys) -> None:
    from mmunlearn.cli import main

    assert 0 == main(["grid", str(grid_file(tmp_path)), "--plan"])
    assert 6 == len(capsys.readouterr().out.splitlines())
    assert not (tmp_path / "out").exists()


def test_verb_reports_failures_with_their_log(tmp_path: Path, capsys) -> None:
    from mmunlearn.cli import main

    path = grid_file(tmp_path, verb="list", arguments=["metods"], settings={}, axes={"seed": [0]})
    assert 1 == main(["grid", str(path), "--launcher", "debug"])
    out = capsys.readouterr().out
    assert "0 of 1 runs are complete" in out
    assert str(tmp_path / "out" / "logs" / "seed-0.log") in out


def test_unknown_launcher_gets_a_near_miss(tmp_path: Path, capsys) -> None:
    from mmunlearn.cli import main

    assert 2 == main(["grid", str(grid_file(tmp_path)), "--launcher", "lokal"])
    assert "launcher 'lokal' is not known. Did you mean local?" in capsys.readouterr().err
