"""Targets borrowed from another run's answers."""

import json

from mmunlearn.borrowed_targets import borrowed
from mmunlearn.data import Example, Role, Split

SPLIT = Split("fluency", Role.UTILITY, tuple(Example(id=f"b/fluency/x/{i}", prompt="?") for i in range(3)))


def write(folder, rows):
    place = folder / "responses" / "source"
    place.mkdir(parents=True)
    (place / "rows-00000.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_answers_become_targets_by_the_rest_of_the_id(tmp_path):
    write(tmp_path, [{"id": "b/source/x/1", "text": " one "}, {"id": "b/source/x/0", "text": "nought"}])
    assert ["nought", "one", None] == [e.target for e in borrowed(SPLIT, "source", tmp_path)]
    assert SPLIT.ids == borrowed(SPLIT, "source", tmp_path).ids


def test_an_empty_answer_gives_no_target(tmp_path):
    write(tmp_path, [{"id": f"b/source/x/{i}", "text": text} for i, text in enumerate(["", "  ", "a"])])
    assert [None, None, "a"] == [e.target for e in borrowed(SPLIT, "source", tmp_path)]


def test_a_run_without_answers_is_said_and_leaves_the_split(tmp_path, caplog):
    assert SPLIT is borrowed(SPLIT, "source", tmp_path)
    assert "no answers to source" in caplog.text
