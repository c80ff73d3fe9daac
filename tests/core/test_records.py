"""Rows: shards, torn lines, merging, columns."""

import math

import numpy as np
import pytest

from mmunlearn.errors import UserError
from mmunlearn.records import Rows, Shard, read_rows


def test_shards_merge_by_id_in_order(tmp_path):
    Shard(tmp_path, 1).append([{"id": "b", "v": np.float32(2)}, {"id": "a", "v": 1}])
    Shard(tmp_path, 0).append([{"id": "c", "v": np.array([1, 2])}, {"id": "a", "v": 9}])
    assert [{"id": "a", "v": 9}, {"id": "b", "v": 2.0}, {"id": "c", "v": [1, 2]}] == read_rows(tmp_path)
    assert [] == read_rows(tmp_path / "nothing")


def test_a_torn_last_line_is_ignored_and_cut_off_by_the_next_append(tmp_path):
    shard = Shard(tmp_path)
    shard.append([{"id": "a"}, {"id": "b"}])
    for keep in range(1, 12):
        torn = shard.path.read_bytes()[: 12 + keep] if keep < 11 else b""
        shard.path.write_bytes(torn)
        expected = torn.count(b"\n")
        assert expected == len(read_rows(tmp_path))
        shard.append([{"id": "z"}])
        assert [*"ab"[:expected], "z"] == [row["id"] for row in read_rows(tmp_path)]
        shard.path.write_bytes(b'{"id": "a"}\n{"id": "b"}\n')


@pytest.mark.parametrize("line", ("{", "5", '{"no": 1}', "[1]", "null"))
def test_a_broken_line_inside_is_named(line, tmp_path):
    (tmp_path / "rows-00000.jsonl").write_text('{"id": "a"}\n' + line + '\n{"id": "b"}\n')
    with pytest.raises(UserError, match=r"rows-00000\.jsonl:2"):
        read_rows(tmp_path)


def test_a_full_disk_is_told_and_keeps_what_was_there(tmp_path, monkeypatch):
    shard = Shard(tmp_path)
    shard.append([{"id": "a"}])

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match="No space left"):
        shard.append([{"id": "b"}])
    assert "a" == read_rows(tmp_path)[0]["id"]


def test_columns_of_rows():
    rows = Rows.of(
        [
            {"id": "b", "nll": 1, "logits": [[1.0, 2.0]], "text": "x", "value": None, "ragged": [1]},
            {"id": "a", "nll": 2.5, "logits": [[3.0, 4.0]], "text": None, "value": True, "ragged": [1, 2]},
        ]
    )
    assert (2, 1, 2) == rows["logits"].shape and object == rows["ragged"].dtype
    assert math.isnan(rows["value"][0]) and 1.0 == rows["value"][1]
    ordered = rows.sorted()
    assert ("a", "b") == ordered.ids and [2.5, 1.0] == ordered["nll"].tolist()
    assert [None, "x"] == ordered["text"].tolist()
    assert [1.0] == rows.take([0])["nll"].tolist()
    assert "nll" in rows and "other" not in rows and 2 == len(rows)
    with pytest.raises(UserError, match="no column 'other'"):
        rows["other"]
    assert 0 == len(Rows.of([]).sorted())
