"""UA, IRA, CRA and the rest on a world of 3 x 3 counted by hand, and on random tables against loops."""

import numpy as np
import pytest
from mmunlearn.diffusion.metrics.cra import Cra
from mmunlearn.diffusion.metrics.ira import Ira
from mmunlearn.diffusion.metrics.oc import Oc
from mmunlearn.diffusion.metrics.sc import Sc
from mmunlearn.diffusion.metrics.sequential_ra import SequentialRa
from mmunlearn.diffusion.metrics.sequential_ua import SequentialUa
from mmunlearn.diffusion.metrics.ua import Ua
from mmunlearn.diffusion.metrics.up import Up

from mmunlearn.errors import UserError
from mmunlearn.metrics.base import Sight
from mmunlearn.records import Rows

STYLES, OBJECTS = ("Van_Gogh", "Rust", "Seed_Images"), ("Dogs", "Cats", "Sea")
# Two pictures of each cell, asked in this order; what the heads read: (style, object) of both.
READ = {
    ("Van_Gogh", "Dogs"): ["Rust/Dogs", "Rust/Cats"],
    ("Van_Gogh", "Cats"): ["Rust/Cats", "Van_Gogh/Cats"],
    ("Van_Gogh", "Sea"): ["Seed_Images/Sea", "Seed_Images/Dogs"],
    ("Rust", "Dogs"): ["Rust/Dogs", "Rust/Dogs"],
    ("Rust", "Cats"): ["Rust/Cats", "Seed_Images/Cats"],
    ("Rust", "Sea"): ["Rust/Sea", "Rust/Cats"],
    ("Seed_Images", "Dogs"): ["Seed_Images/Dogs", "Rust/Dogs"],
    ("Seed_Images", "Cats"): ["Seed_Images/Cats", "Seed_Images/Sea"],
    ("Seed_Images", "Sea"): ["Rust/Sea", None],
}


def rows(read=READ, form="tag.") -> Rows:
    made = []
    for (style, thing), labels in read.items():
        for seed, label in enumerate(labels):
            tags = {"style": style, "object": thing}
            own = {f"tag.{k}": v for k, v in tags.items()} if form == "tag." else {"tags": tags}
            made.append({"id": f"{style}/{thing}/{seed}", "label": label, **own})
    return Rows.of(made)


SIGHT = Sight(rows())
STYLE = {"request": {"kind": "style", "name": "Van_Gogh"}}
OBJECT = {"request": {"kind": "object", "name": "Dogs"}}
PAIR = {"request": {"kind": "pair", "name": "Van_Gogh/Dogs"}}


def value(metric, settings, sight=SIGHT):
    return metric(settings).reduce(sight)


def test_style_request_by_hand():
    # Van_Gogh: 1 of 6 read as Van_Gogh. Rust: 5 of 6. Seed_Images: 3 of 5 scored. Dogs 5/6, Cats 5/6, Sea 3/5.
    assert 5 / 6 == pytest.approx(value(Ua, STYLE).value)
    assert 5 / 6 == pytest.approx(value(Ira, STYLE).value)
    assert (5 / 6 + 3 / 5) / 2 == pytest.approx(value(Ira, STYLE | {"exclude_seed_images": False}).value)
    assert (5 / 6 + 5 / 6 + 3 / 5) / 3 == pytest.approx(value(Cra, STYLE).value)


def test_object_request_by_hand():
    assert 1 / 6 == pytest.approx(value(Ua, OBJECT).value)
    assert (5 / 6 + 3 / 5) / 2 == pytest.approx(value(Ira, OBJECT).value)
    assert (1 / 6 + 5 / 6) / 2 == pytest.approx(value(Cra, OBJECT).value)
    assert (1 / 6 + 5 / 6 + 3 / 5) / 3 == pytest.approx(value(Cra, OBJECT | {"exclude_seed_images": False}).value)


def test_denominators_are_reported():
    assert (6, 0) == (value(Ira, STYLE).n, value(Ira, STYLE).unscored)
    both = value(Ira, STYLE | {"exclude_seed_images": False})
    assert (11, 1) == (both.n, both.unscored)
    assert "mean over 1 styles, without the photographs" == value(Ira, STYLE).note
    assert "mean over 2 styles, the photographs among them" == both.note
    assert (17, 1, "mean over 3 objects") == (value(Cra, STYLE).n, value(Cra, STYLE).unscored, value(Cra, STYLE).note)


def test_pair_request_by_hand():
    # The pair: neither picture is read Van_Gogh/Dogs. Same style, other objects: 1 of 4 read as Van_Gogh.
    assert 1.0 == value(Ua, PAIR).value
    assert (0.25, 4) == value(Sc, PAIR)[:2]
    # Same object: Rust 2 of 2 Dogs; with the photographs 4 of 4.
    assert (1.0, 2) == value(Oc, PAIR)[:2]
    assert (1.0, 4) == value(Oc, PAIR | {"exclude_seed_images": False})[:2]
    # Neither: Rust Cats and Sea: styles 3 of 4 right, objects 3 of 4 right.
    assert (0.75, 4) == value(Up, PAIR)[:2]
    # The photographs add Cats 2, Sea 1 scored: styles 2 of 3, objects 2 of 3.
    assert (3 + 2 + 3 + 2) / 14 == pytest.approx(value(Up, PAIR | {"exclude_seed_images": False}).value)
    for metric in (Ira, Cra):
        assert 0 == value(metric, PAIR).n


def test_sequence_by_hand():
    asked = [STYLE["request"], {"kind": "style", "name": "Rust"}]
    assert (5 / 6 + 1 / 6) / 2 == pytest.approx(value(SequentialUa, {"requests": asked}).value)
    assert 5 / 6 == pytest.approx(value(SequentialUa, {"requests": asked, "reading": "each", "about": 1}).value)
    assert 1 / 6 == pytest.approx(value(SequentialUa, {"requests": asked, "reading": "each"}).value)
    assert 5 / 6 == pytest.approx(value(SequentialUa, {"requests": asked, "reading": "first", "about": 1}).value)
    assert 0 == value(SequentialUa, {"requests": asked, "about": 3}).n
    objects = (5 / 6 + 5 / 6 + 3 / 5) / 3
    first = value(SequentialRa, {"requests": asked[:1]})
    assert (5 / 6 + objects) / 2 == pytest.approx(first.value)
    released = value(SequentialRa, {"requests": asked, "reading": "saeuron", "about": 1})
    assert first.value == pytest.approx(released.value)
    both = value(SequentialRa, {"requests": asked, "exclude_seed_images": False})
    assert (3 / 5 + objects) / 2 == pytest.approx(both.value)


def test_the_request_of_the_run_is_taken_where_the_metric_names_none():
    earlier = {"request": {"kind": "object", "name": "Cats"}}
    sight = Sight(rows(), requests=(earlier, {"request": {"kind": "style", "name": "van gogh"}}))
    assert 5 / 6 == pytest.approx(Ua().reduce(sight).value)
    assert (1 / 6 + 5 / 6) / 2 == pytest.approx(SequentialUa().reduce(sight).value)
    # Retained: Rust, Dogs (5/6) and Sea (3/5).
    assert (5 / 6 + (5 / 6 + 3 / 5) / 2) / 2 == pytest.approx(SequentialRa().reduce(sight).value)


def test_an_original_that_was_asked_nothing_has_no_figure():
    for metric in (Ua, Ira, Cra, Sc, Oc, Up, SequentialUa, SequentialRa):
        assert 0 == metric().reduce(SIGHT).n


def test_concepts_forgotten_together_are_averaged():
    request = {"kind": "sequence", "name": ["Van_Gogh", {"kind": "style", "name": "Rust"}]}
    assert 0.5 == pytest.approx(value(Ua, {"request": request}).value)
    assert 0 == value(Ira, {"request": request}).n  # no style is left beside the photographs
    assert 0 == value(Ira, {"request": {"kind": "sequence", "name": ["Van_Gogh", "Dogs"]}}).n  # two domains


def test_tags_may_come_as_a_mapping():
    assert value(Cra, STYLE)[:4] == value(Cra, STYLE, Sight(rows(form="tags")))[:4]


def test_rows_without_tags_or_label_are_unscored():
    bare = Rows.of([*({"id": f"{i}", "label": None} for i in range(2)), {"id": "x", "label": "noise"}])
    assert (0, 3) == (value(Ua, STYLE, Sight(bare)).n, value(Ua, STYLE, Sight(bare)).unscored)


@pytest.mark.parametrize(
    "request_", [{"kind": "colour", "name": "Rust"}, {"kind": "style", "name": 3}, {"kind": "pair", "name": "Rust"}]
)
def test_a_request_of_another_shape_is_refused(request_):
    with pytest.raises(UserError, match="metric ua"):
        value(Ua, {"request": request_})


@pytest.mark.parametrize("seed", range(3))
def test_random_tables_against_loops(seed):
    rng = np.random.default_rng(seed)
    read = {
        (s, o): [
            None if rng.random() < 0.1 else f"{STYLES[rng.integers(3)]}/{OBJECTS[rng.integers(3)]}" for _ in range(5)
        ]
        for s in STYLES
        for o in OBJECTS
    }

    def p(style):
        said = [label for (s, _), labels in read.items() if s == style for label in labels if label]
        return sum(label.split("/")[0] == style for label in said) / len(said)

    def q(thing):
        said = [label for (_, o), labels in read.items() if o == thing for label in labels if label]
        return sum(label.split("/")[1] == thing for label in said) / len(said)

    sight = Sight(rows(read))
    for style in ("Van_Gogh", "Rust"):
        settings = {"request": {"kind": "style", "name": style}}
        others = [p(s) for s in STYLES if s not in (style, "Seed_Images")]
        assert 1 - p(style) == pytest.approx(value(Ua, settings, sight).value)
        assert np.mean(others) == pytest.approx(value(Ira, settings, sight).value)
        assert np.mean([q(o) for o in OBJECTS]) == pytest.approx(value(Cra, settings, sight).value)
    for thing in OBJECTS:
        settings = {"request": {"kind": "object", "name": thing}}
        assert 1 - q(thing) == pytest.approx(value(Ua, settings, sight).value)
        assert np.mean([q(o) for o in OBJECTS if o != thing]) == pytest.approx(value(Ira, settings, sight).value)
        assert np.mean([p(s) for s in STYLES[:2]]) == pytest.approx(value(Cra, settings, sight).value)
