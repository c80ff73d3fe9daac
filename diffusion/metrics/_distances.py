"""Generated pictures against the data set's in feature space, without what was to be forgotten."""

from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from mmunlearn.data import PictureFolder
from mmunlearn.metrics.base import NOTHING, Sight, Value
from mmunlearn.settings import Settings

from ..canvas.names import PHOTOS, names_of
from ..features import FeatureNetwork, Flavour, RealFeatures, features_of, open_network, real_features
from ..heads import HeadsSettings, data_root
from ..moments import Moments, frechet, kernel_distance
from ._requests import Concept, RequestSettings, last_concepts, tag


class DistanceSettings(RequestSettings):
    """root: the data set (default: the benchmark's mini edition). first, last: numbers of its pictures to compare
    with. exclude_seed_images: leave photographs out of both sets (the published script keeps them). subset: of styles
    and objects, as the benchmark's setting; no other pictures are compared with. heads: of the `mini` flavour; without
    a folder or files of heads they are those of the judge, trained on `root`."""

    root: PictureFolder = ""
    first: int = Field(1, ge=1)
    last: int = Field(5, ge=1)
    exclude_seed_images: bool = False
    subset: dict[Literal["styles", "objects"], Any] = Field(default_factory=dict)
    benchmark: str = "unlearncanvas"
    heads: dict = Field(default_factory=dict)


# Contract checks that need a value; the arithmetic is checked with networks that are at hand (fid_mini, kid_mini).
NO_WEIGHTS = dict.fromkeys(
    (
        "the order of rows does not matter", "rows from shards give the value of the whole",
        "the value moves in the declared direction",
    ),
    "needs the published network's weights, which no package ships",
)  # fmt: skip


class InceptionSettings(DistanceSettings):
    """weights: local file of the inception network. size_px: to which both sets are brought first."""

    weights: str = ""
    size_px: int = Field(512, ge=8)


class Pair(NamedTuple):
    """Features of the retained generated and real pictures; rows without a readable picture."""

    made: np.ndarray
    real: RealFeatures
    kept: np.ndarray
    unscored: int
    network: FeatureNetwork


def distance(sight: Sight, config: Settings, flavour: Flavour, kind: Literal["fid", "kid"], metric: str) -> Value:
    """FID (mean and covariance of all retained pictures) or KID of the evaluation's pictures; n: generated ones."""
    pair = _pair(sight, config, flavour, metric)
    if isinstance(pair, int):
        return NOTHING._replace(unscored=pair)
    if len(pair.made) < 2 or pair.kept.sum() < 2:
        return NOTHING._replace(unscored=pair.unscored)
    if kind == "fid":
        value = frechet(Moments.of(pair.made), _real_moments(pair))
    else:
        value = kernel_distance(pair.made, pair.real.features[pair.kept])
    note = f"{pair.network.title}; against {int(pair.kept.sum())} real pictures"
    return Value(value, len(pair.made), None, pair.unscored, note=note)


def _pair(sight: Sight, config: Settings, flavour: Flavour, metric: str) -> Pair | int:
    """Both sets; the number of unscored rows where no picture is left."""
    assert isinstance(config, DistanceSettings)
    rows = sight.rows
    if not len(rows):
        return 0
    images = rows["image"] if "image" in rows else np.full(len(rows), None, dtype=object)
    styles, objects = tag(rows, "style"), tag(rows, "object")
    gone = last_concepts(sight, config, metric)
    told = np.array([isinstance(image, str) and bool(image) for image in images], dtype=bool)
    told &= np.array([s is not None and o is not None for s, o in zip(styles, objects, strict=True)], dtype=bool)
    able = np.flatnonzero(told & _kept(styles, objects, gone, config.exclude_seed_images))
    chosen = sorted(able.tolist(), key=lambda row: rows.ids[row])  # sums do not depend on the order of rows
    unscored = int((~told).sum())
    if not chosen:
        return unscored
    given = HeadsSettings(**{"root": config.root, "benchmark": config.benchmark, **config.heads})
    network = open_network(
        flavour, getattr(config, "weights", ""), given, getattr(config, "size_px", 0)
    )
    made, places = features_of([Path(images[row]) for row in chosen], network)
    root = Path(config.root) if config.root else data_root(given)
    real = real_features(root, network, config.first, config.last)
    kept = _kept(real.styles, real.objects, gone, config.exclude_seed_images)
    if config.subset:
        names = names_of(root).cut(config.subset.get("styles"), config.subset.get("objects"))
        kept &= np.isin(real.styles, names.themes) & np.isin(real.objects, names.objects)
    return Pair(made, real, kept, unscored + len(chosen) - len(places), network)


def _kept(styles: np.ndarray, objects: np.ndarray, gone: tuple[Concept, ...], exclude_photographs: bool) -> np.ndarray:
    """Which pictures show nothing that was to be forgotten: (n,) bool."""
    keep = np.ones(len(styles), dtype=bool)
    for concept in gone:
        keep &= ~concept.shown(styles, objects)
    return keep & ~(styles == PHOTOS) if exclude_photographs else keep


KEPT = 2  # sets of real pictures whose sums and root stay in memory: 67 MB each at inception's 2,048 features
_TOTALS: dict[int, tuple[RealFeatures, Moments]] = {}
_RETAINED: dict[tuple[int, bytes], Moments] = {}


def _real_moments(pair: Pair) -> Moments:
    """Sums of the retained real pictures: those of all, made once, less those of the few left out."""
    key = id(pair.real)
    if key not in _TOTALS or _TOTALS[key][0] is not pair.real:
        _TOTALS.clear()
        _RETAINED.clear()
        _TOTALS[key] = (pair.real, Moments.of(pair.real.features))
    which = (key, pair.kept.tobytes())
    if which not in _RETAINED:
        out, whole = ~pair.kept, _TOTALS[key][1]
        while len(_RETAINED) >= KEPT:
            del _RETAINED[next(iter(_RETAINED))]
        _RETAINED[which] = whole - Moments.of(pair.real.features[out]) if out.any() else whole
    return _RETAINED[which]
