"""A small canvas in the full data's names, and the same as parquet files."""

import functools
import io

import pyarrow
import pytest
from mmunlearn.diffusion.canvas.names import OBJECTS, THEMES, Names
from mmunlearn.diffusion.canvas.prompts import prompt
from PIL import Image
from pyarrow import parquet

SMALL = Names(THEMES, OBJECTS).cut(2, 2)


@functools.cache
def jpeg(theme, thing, index):
    """A picture of its own for every style, object and index."""
    colour = (THEMES.index(theme) * 5, OBJECTS.index(thing) * 12, index * 12)
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture
def names():
    return SMALL


@pytest.fixture
def folder(tmp_path):
    """3 themes x 2 objects x 20 pictures in the folder form."""
    root = tmp_path / "canvas"
    for theme in SMALL.themes:
        for thing in SMALL.objects:
            (root / theme / thing).mkdir(parents=True)
            for index in range(1, 21):
                (root / theme / thing / f"{index}.jpg").write_bytes(jpeg(theme, thing, index))
    return root


@pytest.fixture
def shards(tmp_path):
    """The same pictures as two parquet files of several row groups, in the wording of the diffusers captions."""
    rows = [
        {"image": {"bytes": jpeg(theme, thing, i), "path": None}, "text": prompt(theme, thing, "diffusers")}
        for theme in SMALL.themes
        for thing in SMALL.objects
        for i in range(1, 21)
    ]
    root = tmp_path / "hub"
    (root / "data").mkdir(parents=True)
    for number, part in enumerate((rows[:70], rows[70:])):
        table = pyarrow.Table.from_pylist(part)
        parquet.write_table(table, root / "data" / f"train-0000{number}-of-00002.parquet", row_group_size=32)
    return root
