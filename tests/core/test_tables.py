"""Readers of tables: aliases, types, and errors that name file, line and column."""

import json

import pyarrow as pa
import pytest
from pyarrow import parquet

from mmunlearn.errors import UserError
from mmunlearn.tables import (
    ExampleColumns,
    image_files,
    plain_name,
    read_csv,
    read_image_folder,
    read_jsonl,
    read_parquet,
    read_table,
    to_examples,
    unique,
)

COLUMNS = {"id": ("key",), "label": ()}


def put(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_csv_finds_columns_by_name_or_alias_wherever_they_stand(tmp_path):
    path = put(tmp_path / "t.csv", "other,label,key\n1, a ,x\n\n2,b,y\n")
    records = read_csv(path, COLUMNS)
    assert [{"id": "x", "label": "a"}, {"id": "y", "label": "b"}] == [dict(r.values) for r in records]
    assert [2, 4] == [r.line for r in records]


def test_csv_passes_over_a_byte_order_mark_and_quoted_newlines(tmp_path):
    path = put(tmp_path / "t.csv", '\ufeffid,label\n"x","two\nlines"\ny,b\n')
    records = read_csv(path, COLUMNS)
    assert ["two\nlines", "b"] == [r["label"] for r in records]
    assert 4 == records[1].line


def test_csv_without_an_optional_column_has_no_such_value(tmp_path):
    (record,) = read_csv(put(tmp_path / "t.csv", "id\nx\n"), COLUMNS, optional=["label"])
    assert record.get("label") is None


@pytest.mark.parametrize(
    ("content", "fragments"),
    [
        ("", ("is empty", "id, label")),
        ("id,label\n", ("no rows",)),
        ("id,lable\nx,a\n", ("no column label", "Did you mean lable?")),
        ("id,key,label\nx,y,a\n", ("id", "twice", "id, key")),
        ("id,label\nx,a\ny\n", ("line 3", "1 fields", "2")),
        (b"id,label\nx,a\ny,\xff\n", ("line 3", "not UTF-8")),
        ('id,label\nx,"a\n', ("not CSV",)),
        ('id,label\n"x"y,a\n', ("line 2", "not CSV")),
    ],
)
def test_csv_faults_name_file_and_line(tmp_path, content, fragments):
    path = put(tmp_path / "t.csv", content)
    with pytest.raises(UserError) as error:
        read_csv(path, COLUMNS)
    assert all(part in str(error.value) for part in (str(path), *fragments)), str(error.value)
    assert 1 == len(str(error.value).splitlines())


def test_jsonl_and_parquet_give_the_same_records_as_csv(tmp_path):
    rows = [{"key": "x", "label": "a", "more": 1}, {"key": "y", "label": "b", "more": 2}]
    put(tmp_path / "t.jsonl", "\n".join(map(json.dumps, rows)))
    put(tmp_path / "t.csv", "key,label\nx,a\ny,b\n")
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    read = [
        [dict(r.values) for r in read_table(tmp_path / f"t.{kind}", COLUMNS)] for kind in ("csv", "jsonl", "parquet")
    ]
    assert read[0] == read[1] == read[2]


@pytest.mark.parametrize(
    ("content", "fragments"),
    [
        ('{"id": "x", "label": "a"}\n{"id": ', ("line 2", "not JSON")),
        ('["x"]\n', ("line 1", "list")),
        ('{"id": "x"}\n', ("line 1", "no column label")),
        ("\n\n", ("is empty",)),
    ],
)
def test_jsonl_faults_name_the_line(tmp_path, content, fragments):
    path = put(tmp_path / "t.jsonl", content)
    with pytest.raises(UserError) as error:
        read_jsonl(path, COLUMNS)
    assert all(part in str(error.value) for part in (str(path), *fragments)), str(error.value)


def test_parquet_that_is_none_is_refused(tmp_path):
    path = put(tmp_path / "t.parquet", b"PAR1 cut off")
    with pytest.raises(UserError, match="not a readable parquet file"):
        read_parquet(path, COLUMNS)


def test_a_missing_or_unknown_table_is_refused(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_table(tmp_path / "gone.csv", COLUMNS)
    with pytest.raises(UserError, match=r"Allowed: \.csv, \.jsonl, \.parquet"):
        read_table(tmp_path / "t.xlsx", COLUMNS)


def test_unique_names_both_lines(tmp_path):
    records = read_csv(put(tmp_path / "t.csv", "id,label\nx,a\ny,a\nx,b\n"), COLUMNS)
    with pytest.raises(UserError, match=r"line 4: id 'x' stands in line 2 too\. Keep one row\."):
        unique(records, "id")


@pytest.mark.parametrize("name", ["", "..", "a/b.jpg", "..\\b.jpg"])
def test_a_file_name_that_leaves_its_folder_is_refused(tmp_path, name):
    (record,) = read_csv(put(tmp_path / "t.csv", f'id,label\nx,"{name}"\n'), COLUMNS)
    with pytest.raises(UserError, match="is not a file name"):
        plain_name(record, "label")


def test_image_folder_reads_labels_from_folders_in_order(tmp_path):
    for name in ("b/2.png", "a/9.jpg", "a/1.JPG", "a/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [("a/1.JPG", "a"), ("a/9.jpg", "a"), ("b/2.png", "b")] == [
        (r["image"], r["label"]) for r in read_image_folder(tmp_path)
    ]
    with pytest.raises(UserError, match="no folder with pictures"):
        read_image_folder(tmp_path / "b")


def test_two_folders_with_one_name_are_refused(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "1.jpg").touch()
    with pytest.raises(UserError, match="same name"):
        image_files(tmp_path / "a", tmp_path / "b")


def test_examples_keep_order_and_carry_images_targets_and_tags(tmp_path):
    rows = [{"id": "7", "label": 1, "image": "x.png"}, {"id": "3", "label": 0, "image": {"bytes": b"raw"}}]
    path = put(tmp_path / "t.jsonl", "\n".join(json.dumps(r) for r in rows[:1]))
    records = read_jsonl(path, {"id": (), "label": (), "image": ()})
    table = tmp_path / "t.parquet"
    parquet.write_table(pa.Table.from_pylist(rows[1:]), table)
    records += read_parquet(table, {"id": (), "label": (), "image": ()})
    columns = ExampleColumns(image="image", target="label", tags=("label",), images=tmp_path / "pictures")
    first, second = to_examples(records, "demo/forget", columns)
    assert ("demo/forget/7", 1, {"label": "1"}) == (first.id, first.target, first.tags)
    assert tmp_path / "pictures" / "x.png" == first.image.path
    assert b"raw" == second.image.read()


@pytest.mark.parametrize(
    ("rows", "fragment"),
    [
        ([{"id": "1", "image": "x"}, {"id": "1", "image": "y"}], "stands in line 1 too"),
        ([{"id": "", "image": "x"}], "id is empty"),
        ([{"id": "1", "image": "../x"}], "not a path below"),
        ([{"id": "1", "image": "/etc/x"}], "not a path below"),
        ([{"id": "1", "image": 7}], "not a path below"),
    ],
)
def test_examples_refuse_bad_ids_and_images(tmp_path, rows, fragment):
    path = put(tmp_path / "t.jsonl", "\n".join(map(json.dumps, rows)))
    records = read_jsonl(path, {"id": (), "image": ()})
    with pytest.raises(UserError, match=fragment):
        to_examples(records, "demo", ExampleColumns(image="image"))
