"""Avatar faces: deterministic, RGB, and showing what they are asked to show."""

from dataclasses import replace

import numpy as np
import pytest

from mmunlearn.avatars.drawing import draw, svg
from mmunlearn.avatars.looks import draw_look
from mmunlearn.avatars.persons import draw_family, draw_person


@pytest.fixture
def person():
    return draw_person(np.random.default_rng(0), male=True)


def look_of(person, age, seed=1):
    return draw_look(np.random.default_rng(seed), person, age=age, smiling=True)


def test_the_same_person_and_look_give_the_same_pixels(person):
    look = look_of(person, 4.5)
    one, two = draw(person, look, 48), draw(person, look, 48)
    assert ("RGB", (48, 48)) == (one.mode, one.size)
    assert one.tobytes() == two.tobytes()


def test_two_looks_of_one_person_differ(person):
    assert (
        draw(person, look_of(person, 4.5, seed=1), 48).tobytes()
        != draw(person, look_of(person, 4.5, seed=2), 48).tobytes()
    )


def test_signs_of_age_grow_with_age(person):
    young, old = look_of(person, 0.5), look_of(person, 7.5)
    assert young.childlike_frac > 0.8 and old.childlike_frac == 0
    assert young.grey_frac == 0 and old.grey_frac > 0.5
    assert young.wrinkles_frac == 0 and old.wrinkles_frac > 0.5
    assert young.facial_hair is None
    assert young.zoom < old.zoom


def test_wrinkles_and_blush_are_drawn_only_where_asked(person):
    look = replace(look_of(person, 4.5), wrinkles_frac=0.0, childlike_frac=0.0)
    plain = svg(person, look, 64)
    assert "M108 72q32-6" not in plain and 'fill="#ff5c5c" fill-opacity' not in plain
    assert "M108 72q32-6" in svg(person, replace(look, wrinkles_frac=0.5), 64)
    assert 'fill="#ff5c5c" fill-opacity' in svg(person, replace(look, childlike_frac=0.5), 64)


def test_a_grey_fraction_of_one_paints_the_hair_grey(person):
    look = replace(look_of(person, 4.5), grey_frac=1.0, top="shortFlat", facial_hair=None)
    assert "#e2e0de" in svg(person, look, 64)
    assert "#e2e0de" not in svg(person, replace(look, grey_frac=0.0), 64)


def test_relatives_share_a_skin_colour_more_than_strangers():
    def gap(one, other):
        return np.abs(np.subtract(one.skin, other.skin)).mean()

    rng = np.random.default_rng(3)
    kin, strangers = [], []
    for _ in range(40):
        family = draw_family(rng)
        one, two = (draw_person(rng, male=male, family=family) for male in (True, False))
        kin.append(gap(one, two))
        strangers.append(gap(one, draw_person(rng, male=False)))
    assert np.mean(kin) < 0.5 * np.mean(strangers)
