"""FID and KID of pictures against an independent way: features one by one, np.cov, scipy's matrix root."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mmunlearn.diffusion import features
from mmunlearn.diffusion.metrics.fid_mini import FidMini
from mmunlearn.diffusion.metrics.fid_standard import FidStandard
from mmunlearn.diffusion.metrics.fid_unlearncanvas import FidUnlearncanvas
from mmunlearn.diffusion.metrics.kid_mini import KidMini
from mmunlearn.diffusion.picture_files import decode
from scipy import linalg

from mmunlearn.data import ImageRef
from mmunlearn.errors import UserError
from mmunlearn.metrics.base import Sight
from mmunlearn.records import Rows
from mmunlearn.testing.picture_world import NUMBERS, OBJECTS, STYLES, picture_path, world

SETTINGS = {"root": "", "heads": {"steps": 60}, "request": {"kind": "style", "name": "Dots"}}


def settings(**over):
    return SETTINGS | {"root": str(world())} | over


def row(style, thing, image, number=0):
    return {"id": f"{style}/{thing}/{number}", "tag.style": style, "tag.object": thing, "image": str(image)}


def copies(*, swapped=False):
    """The data set's own pictures as answers; `swapped`: each object's pictures for the next object."""
    return [
        row(s, o, picture_path(s, OBJECTS[(place + swapped) % 3] if swapped else o, n), n)
        for s in STYLES
        for place, o in enumerate(OBJECTS)
        for n in range(1, NUMBERS + 1)
    ]


def by_hand(heads, rows, gone="Dots"):
    """Mean and covariance of the features, each picture alone; root by scipy."""

    def each(paths):
        made = []
        for path in paths:
            picture = torch.from_numpy(decode(ImageRef(path=Path(path)), heads.size_px))[None]
            made.append(heads.say(picture).features[0].double().numpy())
        return np.stack(made)

    x = each([r["image"] for r in rows if r["tag.style"] != gone])
    y = each([picture_path(s, o, n) for s in STYLES if s != gone for o in OBJECTS for n in range(1, NUMBERS + 1)])
    return x, y


@pytest.mark.parametrize(
    ("subset", "style", "thing", "n"),
    [({"objects": list(OBJECTS[1:])}, None, OBJECTS[0], 20), ({"styles": ["Dots"]}, "Stripes", None, 15)],
)
def test_answers_to_a_subset_are_compared_with_its_real_pictures_alone(world_heads, subset, style, thing, n):
    rows = Rows.of([r for r in copies() if r["tag.style"] != style and r["tag.object"] != thing])
    value = FidMini(settings(subset=subset)).reduce(Sight(rows))  # Dots are forgotten and left out
    assert (n, pytest.approx(0, abs=1e-3)) == (value.n, value.value)
    assert f"against {n} real pictures" in value.note
    assert "against 30 real pictures" in FidMini(settings()).reduce(Sight(rows)).note


def test_equal_sets_are_at_distance_zero(world_heads):
    value = FidMini(settings()).reduce(Sight(Rows.of(copies())))
    assert (30, 0) == (value.n, value.unscored)
    assert value.value == pytest.approx(0, abs=1e-5)


def test_fid_is_that_of_an_independent_way(world_heads):
    rows = [row("Stripes", o, picture_path("Seed_Images", o, n), n) for o in OBJECTS for n in (1, 2, 3)]
    rows += [row("Dots", o, picture_path("Dots", o, n), n) for o in OBJECTS for n in (1, 2)]  # forgotten: left out
    value = FidMini(settings()).reduce(Sight(Rows.of(rows)))
    x, y = by_hand(world_heads, rows)
    c1, c2 = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    gap = x.mean(0) - y.mean(0)
    root = linalg.sqrtm(c1 @ c2).real
    expected = gap @ gap + np.trace(c1) + np.trace(c2) - 2 * np.trace(root)
    assert (9, expected) == (value.n, pytest.approx(value.value, rel=1e-3))
    assert world_heads.identity in value.note and "30 real" in value.note


def test_kid_is_that_of_an_independent_way(world_heads):
    rows = [row("Stripes", o, picture_path("Seed_Images", o, n), n) for o in OBJECTS for n in (1, 2, 3)]
    x, y = by_hand(world_heads, rows)
    k = lambda a, b: (a @ b / a.size + 1) ** 3  # noqa: E731
    n, m = len(x), len(y)
    xx = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    yy = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    xy = np.mean([[k(a, b) for b in y] for a in x])
    assert xx + yy - 2 * xy == pytest.approx(KidMini(settings()).reduce(Sight(Rows.of(rows))).value, rel=1e-4)


def test_garbage_files_are_unscored(world_heads, tmp_path):
    (tmp_path / "text.jpg").write_text("no picture")
    bad = [row("Stripes", "Disc", tmp_path / "text.jpg", 90), row("Stripes", "Disc", tmp_path / "none.jpg", 91)]
    whole = FidMini(settings()).reduce(Sight(Rows.of(copies())))
    value = FidMini(settings()).reduce(Sight(Rows.of(copies() + bad)))
    assert (whole.n, 2, whole.value) == (value.n, value.unscored, pytest.approx(value.value, abs=1e-6))
    nothing = FidMini(settings()).reduce(Sight(Rows.of(bad)))
    assert (0, 2) == (nothing.n, nothing.unscored)


def test_without_a_request_every_picture_counts(world_heads):
    assert 45 == FidMini(settings(request={})).reduce(Sight(Rows.of(copies()))).n


def test_real_features_are_made_once_and_kept(world_heads, heads_settings, tmp_path, monkeypatch):
    shutil.copytree(world(), tmp_path / "w", ignore=shutil.ignore_patterns("*.jpg.*"))
    made = []
    inner = features.FeatureNetwork.__call__
    monkeypatch.setattr(
        features.FeatureNetwork, "__call__", lambda self, x: made.append(len(x)) or inner(self, x)
    )
    monkeypatch.setenv("MMUNLEARN_CACHE", str(tmp_path / "cache"))
    network = features.open_network("mini", "", heads_settings)
    first = features.real_features(tmp_path / "w", network, 1, 3)
    assert (27, 27) == (sum(made), len(first.features))
    features._real.cache_clear()
    again = features.real_features(tmp_path / "w", network, 1, 3)
    assert 27 == sum(made)
    np.testing.assert_array_equal(first.features, again.features)
    # One changed picture: its style and object alone are made again.
    shutil.copy(picture_path("Dots", "Cross", 1), tmp_path / "w" / "Dots" / "Disc" / "2.jpg")
    features._real.cache_clear()
    features.real_features(tmp_path / "w", network, 1, 3)
    assert 30 == sum(made)


def test_parquet_data_have_no_numbers(monkeypatch, world_heads, heads_settings, tmp_path):
    from mmunlearn.diffusion.canvas.files import Canvas
    from mmunlearn.diffusion.canvas.names import names_of

    canvas = Canvas(tmp_path, names_of(world()), (), indexed=False)
    monkeypatch.setattr(features, "read_canvas", lambda *_, **__: canvas)
    with pytest.raises(UserError, match="folder form"):
        features.real_features(tmp_path, features.open_network("mini", "", heads_settings), 1, 5)


class Corners(torch.nn.Module):
    """In the inception network's place (whose own tests are in test_inception): three pixels as features."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, pictures):
        return pictures[:, :, 0, :3].flatten(1).float()


def test_inception_flavours_need_a_local_file_and_are_never_mixed(tmp_path, monkeypatch):
    for metric in (FidUnlearncanvas, FidStandard):
        with pytest.raises(UserError, match="local file"):
            metric({"root": str(world())}).reduce(Sight(Rows.of(copies())))
    opened = []
    monkeypatch.setattr(features, "open_inception", lambda *asked: opened.append(asked) or Corners())
    (tmp_path / "weights.pth").write_bytes(b"stands for a file")
    given = {"root": str(world()), "weights": str(tmp_path / "weights.pth"), "last": 1, "size_px": 64}
    rows = Rows.of([r for r in copies() if r["id"].endswith("/1")][:4])
    values = [
        metric(given | {"request": {"kind": "object", "name": "Square"}}).reduce(Sight(rows))
        for metric in (FidUnlearncanvas, FidStandard)
    ]
    assert [3, 3] == [value.n for value in values] and np.isfinite(values[0].value)
    assert "inception, unlearncanvas; against 6 real pictures" == values[0].note
    assert "inception, standard; against 6 real pictures" == values[1].note
    assert ["unlearncanvas", "standard"] == [flavour for flavour, _ in opened]
