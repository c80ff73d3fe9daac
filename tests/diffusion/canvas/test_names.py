"""Lists and label order of UnlearnCanvas, and names of a mini edition."""

import json

import pytest
from mmunlearn.diffusion.canvas.names import (
    ALL_THEMES,
    FURTHER,
    OBJECTS,
    PHOTOS,
    SEEDS,
    THEMES,
    Names,
    names_of,
    spelled,
    words,
)

from mmunlearn.errors import UserError


def test_label_order_of_the_51_themes():
    assert 51 == len(THEMES) == len(set(THEMES))
    assert ("Seed_Images", "Van_Gogh") == (THEMES[38], THEMES[45])
    assert ("Abstractionism", "Winter", "Magic_Cube") == (THEMES[0], THEMES[50], THEMES[25])
    assert sorted(THEMES) == list(THEMES)
    assert 50 == len(Names(THEMES, OBJECTS).styles)


def test_label_order_of_the_20_objects():
    assert 20 == len(OBJECTS) and sorted(OBJECTS) == list(OBJECTS)
    assert ("Architectures", "Dogs", "Human", "Waterfalls") == (OBJECTS[0], OBJECTS[5], OBJECTS[11], OBJECTS[19])


def test_the_61_themes_hold_palette_knife_before_magic_cube():
    assert 61 == len(ALL_THEMES) == len(set(ALL_THEMES))
    place = ALL_THEMES.index("Palette_Knife")
    assert ("Liquid_Dreams", "Magic_Cube") == (ALL_THEMES[place - 1], ALL_THEMES[place + 1])
    assert sorted(ALL_THEMES) != list(ALL_THEMES)
    assert tuple(name for name in ALL_THEMES if name not in FURTHER) == THEMES
    assert {
        "Blue_Blooming", "Crypto_Punks", "Dreamweave", "Foliage_Patchwork", "Impasto", "Palette_Knife", "Pointillism",
        "Rainwash", "Realistic_Watercolor", "Techno",
    } == set(FURTHER)  # fmt: skip


def test_seeds_of_the_published_answer_sets():
    assert (188, 288, 588, 688, 888) == SEEDS


@pytest.mark.parametrize("said", ["Van_Gogh", "van gogh", " VAN_GOGH ", "Van Gogh"])
def test_names_are_found_however_they_are_spelled(said):
    assert "Van_Gogh" == spelled(said, THEMES)
    assert "Van Gogh" == words("Van_Gogh")


def test_without_a_mini_the_lists_are_the_benchmarks(tmp_path):
    assert Names(THEMES, OBJECTS) == names_of(tmp_path)
    assert Names(ALL_THEMES, OBJECTS) == names_of(tmp_path, further=True)


def test_a_cut_keeps_the_photos():
    names = Names(("Alpha", "Beta", PHOTOS, "Zeta"), ("Cats", "Dogs", "Sea")).cut(2, 2)
    assert Names(("Alpha", "Beta", PHOTOS), ("Cats", "Dogs")) == names


def test_a_cut_larger_than_the_data_is_refused():
    with pytest.raises(UserError, match=r"subset.styles: 4, and the data hold 2"):
        Names(("Alpha", "Beta", PHOTOS), ("Cats",)).cut(4, None)


@pytest.mark.parametrize(
    ("content", "fragment"),
    [
        ("{", "not readable JSON"),
        ("[1]", "no mapping"),
        ("{}", "themes is no list"),
        ('{"themes": ["A"], "objects": ["x"]}', "themes lacks Seed_Images"),
        ('{"themes": ["A", "A", "Seed_Images"], "objects": ["x"]}', "repeats a name"),
        ('{"themes": ["../A", "Seed_Images"], "objects": ["x"]}', "no folder name"),
        ('{"themes": ["A", "Seed_Images"], "objects": "x"}', "objects is no list"),
        ('{"themes": ["A", "Seed_Images"], "objects": []}', "objects is no list"),
    ],
)
def test_a_broken_list_of_a_mini_edition_is_refused(tmp_path, content, fragment):
    (tmp_path / "mini.json").write_text(content)
    with pytest.raises(UserError, match=fragment) as caught:
        names_of(tmp_path)
    assert "mini.json" in str(caught.value)


def test_lists_of_a_mini_edition(tmp_path):
    (tmp_path / "mini.json").write_text(json.dumps({"themes": ["A", PHOTOS], "objects": ["x", "y"]}))
    assert Names(("A", PHOTOS), ("x", "y")) == names_of(tmp_path)


def test_the_photos_are_never_forgotten():
    with pytest.raises(UserError, match="never forgotten"):
        Names(THEMES, OBJECTS).style("seed images", "benchmark.request.name")
