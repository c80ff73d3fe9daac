"""Finding and reading finished runs."""

import json
import logging
from pathlib import Path

import pytest

from mmunlearn.errors import UserError
from mmunlearn.report.runs import find_runs, read_run


def test_runs_are_found_in_the_folder_of_a_reproduce_command(out: Path) -> None:
    assert 12 == len(find_runs([out]))
    assert 12 == len(find_runs([out / "runs"]))


def test_named_runs_are_taken_once(out: Path) -> None:
    one = out / "runs" / "scrub-s0"
    assert ["scrub"] == [run.row for run in find_runs([one, one])]


def test_unfinished_run_in_a_folder_is_left_out_with_a_warning(out: Path, caplog) -> None:
    (out / "runs" / "scrub-s0" / "results.json").unlink()
    with caplog.at_level(logging.WARNING):
        assert 11 == len(find_runs([out]))
    assert "scrub-s0 is not finished" in caplog.text


def test_unfinished_run_that_was_named_is_refused(out: Path) -> None:
    (out / "runs" / "scrub-s0" / "results.json").unlink()
    with pytest.raises(UserError, match="scrub-s0: is not finished"):
        find_runs([out / "runs" / "scrub-s0"])


def test_folder_without_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no finished run in it"):
        find_runs([tmp_path])


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        find_runs([tmp_path / "none"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "holds no JSON object"),
        (json.dumps({"schema": 1}), "lacks benchmark, edition"),
    ],
)
def test_broken_results_are_refused(out: Path, content: str, message: str) -> None:
    folder = out / "runs" / "scrub-s0"
    (folder / "results.json").write_text(content)
    with pytest.raises(UserError, match=message):
        read_run(folder)


def test_results_of_another_schema_are_refused(out: Path) -> None:
    path = out / "runs" / "scrub-s0" / "results.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": 9}))
    with pytest.raises(UserError, match="schema 9 is not 1"):
        read_run(path.parent)


def test_a_run_gives_settings_manifest_and_responses(out: Path) -> None:
    run = read_run(out / "runs" / "scrub-s1")
    assert (1, "scrub") == (run.seed, run.settings["method"]["name"])
    assert "abc123" == run.manifest["code"]
    assert 120 == len(run.responses("forget"))
    assert run.responses("none") is None
