"""Files are complete or absent, whatever stops the writer."""

import errno
import os

import pytest

from mmunlearn.atomic import new_folder, write_bytes, write_json, write_text
from mmunlearn.errors import UserError


def full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_written_files_hold_what_was_given(tmp_path):
    write_text(tmp_path / "a/b.txt", "grün\n")
    write_json(tmp_path / "a/c.json", {"b": 1, "a": "ü"}, indent=None)
    assert "grün\n" == (tmp_path / "a/b.txt").read_text(encoding="utf-8")
    assert '{"a": "ü", "b": 1}\n' == (tmp_path / "a/c.json").read_text(encoding="utf-8")
    assert ["b.txt", "c.json"] == sorted(os.listdir(tmp_path / "a"))


def test_json_without_nan(tmp_path):
    with pytest.raises(ValueError):
        write_json(tmp_path / "x.json", {"value": float("nan")})
    assert [] == os.listdir(tmp_path)


@pytest.mark.parametrize("where", ("os.fsync", "os.replace"))
def test_a_full_disk_keeps_the_old_file_and_nothing_else(where, tmp_path, monkeypatch):
    write_text(tmp_path / "x", "old")
    monkeypatch.setattr(where, full_disk)
    with pytest.raises(UserError, match="No space left"):
        write_bytes(tmp_path / "x", b"new")
    assert {"x": "old"} == {f.name: f.read_text() for f in tmp_path.iterdir()}


@pytest.mark.parametrize("where", ("os.fsync", "os.replace"))
def test_a_full_disk_leaves_no_folder(where, tmp_path, monkeypatch):
    monkeypatch.setattr(where, full_disk)
    with pytest.raises(UserError, match="No space left"), new_folder(tmp_path / "model") as temporary:
        (temporary / "weights").write_text("w")
    assert [] == os.listdir(tmp_path)


def test_a_folder_replaces_the_old_one_when_its_block_ends(tmp_path):
    for text in ("one", "two"):
        with new_folder(tmp_path / "model") as temporary:
            (temporary / "f").write_text(text)
    assert "two" == (tmp_path / "model/f").read_text()
    assert ["model"] == os.listdir(tmp_path)
    with pytest.raises(KeyError), new_folder(tmp_path / "model") as temporary:
        (temporary / "f").write_text("three")
        raise KeyError
    assert "two" == (tmp_path / "model/f").read_text()
    assert ["model"] == os.listdir(tmp_path)


def test_a_file_where_a_folder_should_be(tmp_path):
    write_text(tmp_path / "x", "")
    with pytest.raises(UserError, match="cannot be written"):
        write_text(tmp_path / "x/y", "")
