"""Readers: both forms hold the same pictures, and what is wrong with a folder or file is said."""

import logging
import shutil

import pyarrow
import pytest
from mmunlearn.diffusion.canvas.files import read_canvas
from mmunlearn.diffusion.canvas.names import OBJECTS, THEMES, Names, names_of
from PIL import Image
from pyarrow import parquet

from mmunlearn.errors import UserError
from mmunlearn.testing.picture_world import write_world

WHAT = "the pictures"


def read(root, names, *, strict=True):
    return read_canvas(root, names, strict=strict, what=WHAT)


def refusal(root, names, *, strict=True):
    with pytest.raises(UserError) as caught:
        for picture in read(root, names, strict=strict).pictures:
            picture.image.open()
    assert 1 <= len(str(caught.value).splitlines()) <= 4
    return str(caught.value)


def change_shards(shards, edit):
    """Apply `edit` to the rows of the first file."""
    path = shards / "data" / "train-00000-of-00002.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(edit(parquet.read_table(path).to_pylist())), path)
    return path


# ---- what is read -----------------------------------------------------------------------------------------------
def test_the_folder_form_in_order(folder, names):
    canvas = read(folder, names)
    assert canvas.indexed and 120 == len(canvas.pictures)
    cells = [(p.style, p.object, p.number) for p in canvas.pictures]
    assert [(t, o, i) for t in names.themes for o in names.objects for i in range(1, 21)] == cells
    assert folder / "Artist_Sketch" / "Bears" / "7.jpg" == canvas.pictures[66].image.path


def test_both_forms_hold_the_same_pictures(folder, shards, names, caplog):
    with caplog.at_level(logging.WARNING):
        hub = read(shards, names)
    assert "do not hold the image index" in caplog.text
    local = read(folder, names)
    assert not hub.indexed
    assert [(p.style, p.object, p.number, p.image.read()) for p in local.pictures] == [
        (p.style, p.object, p.number, p.image.read()) for p in hub.pictures
    ]
    assert len({p.image for p in hub.pictures}) == len(hub.pictures) == len({p.image.path for p in hub.pictures})


def test_pictures_of_parquet_files_are_read_when_asked(shards, names, monkeypatch):
    reads = []
    real = parquet.ParquetFile.read_row_group
    monkeypatch.setattr(
        parquet.ParquetFile, "read_row_group",
        lambda self, i, columns=None, **more: reads.append(tuple(columns)) or real(self, i, columns=columns, **more),
    )  # fmt: skip
    canvas = read(shards, names)
    assert {("text",)} == set(reads)
    canvas.pictures[0].image.read()
    assert ("image",) == reads[-1]


def test_the_index_is_refused_where_it_is_lost(shards, names, folder):
    with pytest.raises(UserError, match="style transfer needs to know which index") as caught:
        read(shards, names).refuse_without_index("style transfer")
    assert "folder form" in str(caught.value)
    read(folder, names).refuse_without_index("style transfer")


def test_numbers_are_read_as_numbers(folder, names):
    place = folder / "Seed_Images" / "Bears"
    (place / "2.jpg").rename(place / "02.JPG")
    (place / ".DS_Store").write_text("x")
    (place / "notes.txt").write_text("x")
    numbers = [p.number for p in read(folder, names).pictures if (p.style, p.object) == ("Seed_Images", "Bears")]
    assert list(range(1, 21)) == numbers


def test_further_styles_and_strange_folders_are_passed_over(folder, names, caplog):
    shutil.copytree(folder / "Abstractionism", folder / "Techno")
    (folder / "thumbnails").mkdir()
    with caplog.at_level(logging.WARNING):
        assert 120 == len(read(folder, names).pictures)
    assert "thumbnails" in caplog.text and "Techno" not in caplog.text


def test_styles_that_names_were_cut_of_are_passed_over_silently(tmp_path, caplog):
    write_world(tmp_path, numbers=2)
    caplog.set_level(logging.WARNING)
    few = names_of(tmp_path).cut(["Dots"], ["Disc"])
    assert {"Dots"} <= {p.style for p in read(tmp_path, few, strict=False).pictures} <= set(few.themes)
    assert not caplog.records
    (tmp_path / "Dotz").mkdir()
    read(tmp_path, few, strict=False)
    assert "Dotz is no style of the benchmark" in caplog.text


def test_what_is_missing_may_be_allowed(folder, names, caplog):
    shutil.rmtree(folder / "Artist_Sketch")
    (folder / "Seed_Images" / "Bears" / "3.jpg").unlink()
    with caplog.at_level(logging.WARNING):
        assert 79 == len(read(folder, names, strict=False).pictures)
    assert "1 styles missing (first: Artist_Sketch)" in caplog.text


# ---- the folder form, malformed ---------------------------------------------------------------------------------
def test_a_missing_style(folder, names):
    shutil.rmtree(folder / "Artist_Sketch")
    assert "1 of 3 styles missing (first: Artist_Sketch)" in refusal(folder, names)


def test_a_style_under_another_name(folder, names):
    (folder / "Artist_Sketch").rename(folder / "Artist Sketch")
    assert "Did you mean Artist Sketch?" in refusal(folder, names)


def test_only_strange_folders(folder, names):
    for theme in names.themes:
        (folder / theme).rename(folder / theme.lower())
    message = refusal(folder, names)
    assert "no style folder and no parquet file" in message and WHAT in message
    assert "folders are named like 'Abstractionism'" in message


def test_an_empty_root(tmp_path, names):
    message = refusal(tmp_path, names)
    assert str(tmp_path) in message and WHAT in message


def test_objects_and_styles_the_wrong_way_round(folder, names):
    for theme in names.themes:
        for thing in names.objects:
            (folder / thing).mkdir(exist_ok=True)
            (folder / theme / thing).rename(folder / thing / theme)
        (folder / theme).rmdir()
    assert "no style folder" in refusal(folder, names)


def test_a_missing_object(folder, names):
    shutil.rmtree(folder / "Artist_Sketch" / "Bears")
    assert "Artist_Sketch/Bears: no such folder" in refusal(folder, names)


def test_an_object_under_another_name(folder, names):
    (folder / "Artist_Sketch" / "Bears").rename(folder / "Artist_Sketch" / "Bear")
    assert "Did you mean Bear?" in refusal(folder, names)


def test_a_missing_picture(folder, names):
    (folder / "Artist_Sketch" / "Bears" / "7.jpg").unlink()
    message = refusal(folder, names)
    assert "Artist_Sketch/Bears" in message and "1 missing (first: 7.jpg)" in message


def test_a_picture_too_many(folder, names):
    place = folder / "Artist_Sketch" / "Bears"
    shutil.copy(place / "1.jpg", place / "21.jpg")
    assert "21.jpg is beyond" in refusal(folder, names)


@pytest.mark.parametrize("name", ["bear.jpg", "0.jpg", "-1.jpg", "1 (2).jpg", "1.5.jpg", "x1.png"])
def test_a_picture_that_is_not_named_by_its_index(folder, names, name):
    place = folder / "Artist_Sketch" / "Bears"
    shutil.copy(place / "1.jpg", place / name)
    message = refusal(folder, names)
    assert name in message and "named by its index" in message


def test_an_index_twice(folder, names):
    place = folder / "Artist_Sketch" / "Bears"
    shutil.copy(place / "1.jpg", place / "1.png")
    assert "index 1 is 1.jpg too" in refusal(folder, names)


def test_an_object_without_pictures(folder, names):
    for file in (folder / "Artist_Sketch" / "Bears").iterdir():
        file.unlink()
    assert "holds no pictures" in refusal(folder, names, strict=False)


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", None], ids=["empty", "html", "truncated"])
def test_a_corrupt_picture(folder, names, content):
    path = folder / "Artist_Sketch" / "Bears" / "7.jpg"
    path.write_bytes(path.read_bytes()[:100] if content is None else content)
    message = refusal(folder, names)
    assert str(path) in message and "not a readable image" in message


def test_a_giant_picture_is_refused_unread(folder, names):
    path = folder / "Artist_Sketch" / "Bears" / "7.jpg"
    Image.new("1", (9000, 8000)).save(path, "PNG")
    message = refusal(folder, names)
    assert str(path) in message and "refused unread" in message


# ---- the parquet form, malformed --------------------------------------------------------------------------------
def test_a_file_that_is_no_parquet(shards, names):
    path = shards / "data" / "train-00001-of-00002.parquet"
    path.write_bytes(path.read_bytes()[:200])
    message = refusal(shards, names)
    assert str(path) in message and "not a readable parquet file" in message


def test_a_missing_column(shards, names):
    change_shards(shards, lambda rows: [{"image": row["image"], "caption": row["text"]} for row in rows])
    assert "no column text" in refusal(shards, names)


def test_a_missing_shard(shards, names):
    (shards / "data" / "train-00001-of-00002.parquet").unlink()
    message = refusal(shards, names)
    assert "style-object pairs have not 20 pictures" in message and "Fetch all 153 shards" in message


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("A photo of a bear", "line 3: text 'A photo of a bear' is not 'A {object} image in {style} style.'"),
        (None, "line 3: text None"),
        ("A Bears image in Abstractionismus style", "style 'Abstractionismus'. Did you mean Abstractionism"),
        ("A Elephant image in Abstractionism style", "object 'Elephant'"),
    ],
)
def test_a_caption_that_names_nothing_of_the_data(shards, names, text, fragment):
    names = Names(THEMES, OBJECTS)
    change_shards(shards, lambda rows: [row | {"text": text} if i == 2 else row for i, row in enumerate(rows)])
    assert fragment in refusal(shards, names)


def test_a_cell_without_a_picture(shards, names):
    empty = {"bytes": b"", "path": "x"}
    change_shards(shards, lambda rows: [row | {"image": empty} if i == 2 else row for i, row in enumerate(rows)])
    message = refusal(shards, names)
    assert "train-00000-of-00002.parquet, row 3" in message and "no encoded picture" in message


def test_only_other_styles(shards):
    names = Names(("Winter", "Seed_Images"), OBJECTS)
    for path in (shards / "data").iterdir():
        rows = [row | {"text": "A Bears image in Techno style"} for row in parquet.read_table(path).to_pylist()]
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    assert "no row of the 2 parquet files belongs to a style" in refusal(shards, names, strict=False)
