"""Metrics of brands against loops over rows."""

import math

import numpy as np
import pytest
from mmunlearn.diffusion.metrics.brand_corrected import BrandCorrected
from mmunlearn.diffusion.metrics.brand_hallucination import BrandHallucination
from mmunlearn.diffusion.metrics.brand_kept import BrandKept
from mmunlearn.diffusion.metrics.brand_rate import BrandRate
from mmunlearn.diffusion.metrics.brand_structure import BrandStructure
from mmunlearn.diffusion.metrics.unbranding_score import UnbrandingScore

from mmunlearn.metrics.base import Sight, Value
from mmunlearn.records import Rows
from mmunlearn.seeds import generator

NAMES = ("A", "B", "C", "NO_BRAND")
REQUEST = ({"request": {"brands": ["a", "B"]}},)


def rows(seed, right, n=200):
    draw = generator(seed, "brands")
    made = []
    for i in range(n):
        asked = NAMES[i % 4]
        said = asked if draw.random() < right else NAMES[int(draw.integers(4))]
        unscored = draw.random() < 0.1
        made.append({"id": f"{i:03d}", "tags": {"brand": asked}, "label": None if unscored else said,
                     "value": None if unscored else float(said == asked)})  # fmt: skip
    return made


EDITED, BASE = rows(0, 0.3), rows(1, 0.8)
SIGHT = Sight(Rows.of(EDITED), requests=REQUEST, original_judged=Rows.of(BASE))


def slow_rate(made, brands):
    hits = n = 0
    for row in made:
        if row["tags"]["brand"] in brands and row["label"] is not None:
            n += 1
            hits += row["label"] == row["tags"]["brand"]
    return hits / n


def test_rate_and_kept_are_those_of_a_loop():
    assert slow_rate(EDITED, "AB") == pytest.approx(BrandRate().reduce(SIGHT).value)
    assert slow_rate(EDITED, "C") == pytest.approx(BrandKept().reduce(SIGHT).value)
    unscored = sum(row["label"] is None and row["tags"]["brand"] in "AB" for row in EDITED)
    assert unscored == BrandRate().reduce(SIGHT).unscored


def test_hallucination_is_the_share_of_controls_with_a_brand():
    controls = [row for row in EDITED if row["tags"]["brand"] == "NO_BRAND" and row["label"] is not None]
    expected = sum(row["label"] != "NO_BRAND" for row in controls) / len(controls)
    assert expected == pytest.approx(BrandHallucination().reduce(SIGHT).value)


def test_the_corrected_rate_is_rogan_and_gladens_with_figures_of_controls_and_base():
    controls = [row for row in EDITED if row["tags"]["brand"] == "NO_BRAND" and row["label"] is not None]
    false, weights = [], []
    for brand in "AB":
        false.append(sum(row["label"] == brand for row in controls) / len(controls))
        weights.append(sum(row["tags"]["brand"] == brand and row["label"] is not None for row in EDITED))
    f = sum(a * w for a, w in zip(false, weights, strict=True)) / sum(weights)
    expected = (slow_rate(EDITED, "AB") - f) / (slow_rate(BASE, "AB") - f)
    found = BrandCorrected().reduce(SIGHT)
    assert min(1, max(0, expected)) == pytest.approx(found.value)
    assert f"false positives {f:.3f}" in found.note


def test_a_judge_that_cannot_tell_corrects_nothing_and_ends_are_clipped():
    blind = [row | {"label": "A"} for row in EDITED]
    found = BrandCorrected({"brands": ["A"], "sensitivity": 1.0}).reduce(Sight(Rows.of(blind)))
    assert math.isnan(found.value) and "cannot tell" in found.note
    never = [row | {"label": "NO_BRAND" if row["tags"]["brand"] == "A" else "A"} for row in EDITED[:3] + EDITED[4:8]]
    assert math.isnan(BrandCorrected({"brands": ["A"]}).reduce(Sight(Rows.of(never))).value)  # no original yet
    quiet = [row | {"label": "NO_BRAND"} for row in EDITED]
    assert 0 == BrandCorrected({"brands": ["A"], "sensitivity": 0.9}).reduce(Sight(Rows.of(quiet))).value


def test_yes_or_no_labels_and_labels_with_an_object_count_as_well():
    tags = [{"brand": "A"}, {"brand": "A"}, {"brand": "NO_BRAND"}, {"brand": "NO_BRAND"}]
    for labels in (["yes", "no", "yes", "no"], ["A/mug", "B/mug", "C/mug", "NO_BRAND/mug"]):
        sight = Sight(Rows.of([{"id": str(i), "tags": t, "label": label, "value": 1.0}
                               for i, (t, label) in enumerate(zip(tags, labels, strict=True))]))  # fmt: skip
        assert (0.5, 0.5) == (BrandRate().reduce(sight).value, BrandHallucination().reduce(sight).value)


def test_structure_is_the_mean_of_the_forgotten_brands_numbers():
    values = [row["value"] for row in EDITED if row["tags"]["brand"] in "AB" and row["value"] is not None]
    found = BrandStructure().reduce(SIGHT)
    assert np.mean(values) == pytest.approx(found.value) and len(values) == found.n


def test_u_weighs_both_halves_alike_and_waits_for_both():
    cells = {"brand/b": Value(0.25, 10), "structure/s": Value(0.5, 8, unscored=2)}
    found = UnbrandingScore().reduce(Sight(Rows((), {}), cells=cells))
    assert (0.625, 8, 2) == (found.value, found.n, found.unscored)
    assert math.isnan(UnbrandingScore().reduce(Sight(Rows((), {}), cells={"brand/b": Value(0.25, 10)})).value)
