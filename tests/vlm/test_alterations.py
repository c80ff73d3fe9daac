"""Altered pictures: size and type stay, levels grow, draws decide alone; two checked against loops."""

import numpy as np
import pytest
from mmunlearn.vlm.alterations import ALTERATIONS, LEVELS, colour, occlusion

from mmunlearn.seeds import generator

PICTURE = np.random.default_rng(0).integers(40, 200, (24, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", ALTERATIONS)
@pytest.mark.parametrize("level", LEVELS)
def test_size_stays_something_changes_and_the_draw_decides(kind, level):
    before = PICTURE.copy()

    one, two = (ALTERATIONS[kind](PICTURE, level, generator(1, kind)) for _ in range(2))

    assert (PICTURE.shape, np.uint8) == (one.shape, one.dtype)
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(before, PICTURE)
    assert (one != PICTURE).any()


@pytest.mark.parametrize("kind", ["noise", "occlusion"])
def test_a_higher_level_changes_more(kind):
    def changed(level):
        return np.abs(ALTERATIONS[kind](PICTURE, level, generator(1, kind)).astype(int) - PICTURE).mean()

    assert changed(1) < changed(2) < changed(3)


def test_occlusion_against_a_loop():
    draw = generator(3, "hide")
    top, left = int(draw.integers(24 - 12 + 1)), int(draw.integers(32 - 16 + 1))

    made = occlusion(PICTURE, 3, generator(3, "hide"))

    for y in range(24):
        for x in range(32):
            inside = top <= y < top + 12 and left <= x < left + 16
            assert [127] * 3 == made[y, x].tolist() if inside else PICTURE[y, x].tolist() == made[y, x].tolist()


def test_the_third_colour_level_is_inverted_grey():
    made = colour(PICTURE, 3, generator(0))

    red, green, blue = (int(v) for v in PICTURE[5, 6])
    assert [round(255 - (0.299 * red + 0.587 * green + 0.114 * blue))] * 3 == made[5, 6].tolist()
