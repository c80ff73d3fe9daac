"""The answer set: its size, names and order."""

from collections import Counter

from mmunlearn.diffusion.canvas.answers import answer_set, file_name
from mmunlearn.diffusion.canvas.names import OBJECTS, PHOTOS, SEEDS, THEMES, Names

FULL = answer_set(Names(THEMES, OBJECTS), SEEDS, "benchmark")


def test_the_full_set_has_5100_answers():
    assert 5100 == len(FULL) == len({e.id for e in FULL}) == len({e.tags["file"] for e in FULL})
    wanted = {file_name(t, o, s) for t in THEMES for o in OBJECTS for s in SEEDS}
    assert wanted == {e.tags["file"] for e in FULL}
    assert "Van_Gogh_Dogs_seed188.jpg" in wanted


def test_tags_say_what_the_prompt_asks_for():
    for example in FULL[::97]:
        style, thing = example.tags["style"], example.tags["object"]
        said = "Seed Images" if style == PHOTOS else style.replace("_", " ")
        assert f"A {thing} image in {said} style." == example.prompt
        assert f"{style}_{thing}_seed{example.tags['seed']}.jpg" == example.tags["file"]
        assert THEMES.index(style) * 20 + OBJECTS.index(thing) == int(example.tags["index"])


def test_any_first_part_spreads_over_themes_and_objects():
    first = FULL[:51]
    assert set(THEMES) == {e.tags["style"] for e in first}
    assert {2, 3} == set(Counter(e.tags["object"] for e in first).values())
    assert {"188"} == {e.tags["seed"] for e in FULL[:1020]}
    assert 1020 == len({(e.tags["style"], e.tags["object"]) for e in FULL[:1020]})


def test_the_grid_index_does_not_depend_on_the_seed():
    by_cell = {}
    for example in FULL:
        by_cell.setdefault((example.tags["style"], example.tags["object"]), set()).add(example.tags["index"])
    assert {1} == {len(indices) for indices in by_cell.values()}
    assert 1020 == len({index for indices in by_cell.values() for index in indices})
