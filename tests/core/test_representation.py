"""The representation plan on toy classifiers: a changed head hides nothing from it; any folder of pictures will do."""

import shutil

import numpy as np
import pytest
import torch
from mmunlearn.vision.toy import toy_original, toy_splits

from mmunlearn.errors import UserError
from mmunlearn.metrics.cka import linear_cka
from mmunlearn.representation import CLASS, Model, RepresentationSettings, chosen_splits, compare, picture_folder
from mmunlearn.testing.tiny import TinyHandle, tiny_splits

SETTINGS = RepresentationSettings(splits=("forget", "retain"))


@pytest.fixture(scope="module")
def data():
    return toy_splits()


@pytest.fixture(scope="module")
def original(data):
    return toy_original(data)


@pytest.fixture(scope="module")
def hiding(original):
    """The original with a head that answers nothing: features untouched."""
    handle = original.copy()
    with torch.no_grad():
        for parameter in handle.head().parameters():
            parameter.zero_()
    return handle


@pytest.fixture(scope="module")
def found(tmp_path_factory, data, original, hiding):
    models = [Model("model", hiding), Model("reference", original.fresh(5)), Model("original", original)]
    return compare(tmp_path_factory.mktemp("rep"), models, chosen_splits(data, SETTINGS), SETTINGS, 0)


def _features(handle, split):
    with torch.no_grad():
        return handle.features(handle.collate(split.examples)).double().numpy()


def test_features_behind_an_emptied_head_are_still_the_originals(found):
    assert pytest.approx(1.0, abs=1e-6) == found["cells"]["forget/cka_original"]["value"]
    assert found["cells"]["forget/knn_transfer"]["original"] == found["cells"]["forget/knn_transfer"]["value"]
    assert found["cells"]["forget/top1"]["original"] > found["cells"]["forget/top1"]["value"] + 0.4


def test_cka_with_the_retrained_model_is_that_of_the_features(found, data, original):
    a, b = _features(original, data["retain"]), _features(original.fresh(5), data["retain"])
    assert pytest.approx(linear_cka(a, b), abs=1e-5) == found["cells"]["retain/cka"]["value"]
    assert pytest.approx(1.0) == found["cells"]["retain/cka"]["reference"]


def test_unified_scores_follow_from_the_cells(found):
    cells = {name: cell["value"] for name, cell in found["cells"].items()}
    agl = 1 - np.mean([cells[f"{s}/gap_top1"] for s in ("forget", "retain")])
    knn = [cells[f"{s}/gap_knn_transfer"] for s in ("forget", "retain")]
    agr = 1 - np.mean([*knn, *(1 - cells[f"{s}/cka"] for s in ("forget", "retain"))])
    assert pytest.approx((agl, agr)) == (cells["all/agl"], cells["all/agr"])
    assert pytest.approx(2 * agl * agr / (agl + agr)) == cells["all/h_lr"]


def _folder(path, data):
    for i, example in enumerate(data["retain"]):
        place = path / ("cats" if i % 2 else "dogs") / f"{i:03d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(example.image.content)
    return path


def test_any_folder_of_pictures_gives_transfer_and_cka_but_no_accuracy(tmp_path, data, original, hiding):
    settings = RepresentationSettings(splits=(), images=str(_folder(tmp_path / "pets", data)))
    splits = chosen_splits(data, settings)
    assert {"cats", "dogs"} == {e.tags[CLASS] for e in splits["pets"]}
    models = [Model("model", hiding), Model("original", original)]
    cells = compare(tmp_path / "out", models, splits, settings, 0)["cells"]
    assert {"pets/knn_transfer", "pets/linear_probe", "pets/cka_original"} == set(cells)
    assert pytest.approx(1.0, abs=1e-6) == cells["pets/cka_original"]["value"]


def test_classes_of_a_folder_are_what_transfer_reads(tmp_path, data, original):
    folder = tmp_path / "tones"
    from PIL import Image

    for name, grey in (("dark", 10), ("light", 245)):
        (folder / name).mkdir(parents=True)
        for i in range(10):
            Image.new("RGB", (16, 16), (grey + i % 5,) * 3).save(folder / name / f"{i}.png")
    settings = RepresentationSettings(splits=(), images=str(folder))
    cells = compare(tmp_path / "out", [Model("model", original)], chosen_splits(data, settings), settings, 0)["cells"]
    assert 1.0 == cells["tones/linear_probe"]["value"]


def test_a_tag_replaces_the_target_and_a_missing_one_is_named(tmp_path, data, original):
    with pytest.raises(UserError, match="lack the tag 'identity'"):
        settings = RepresentationSettings(splits=("forget",), tag="identity")
        compare(tmp_path, [Model("model", original)], chosen_splits(data, settings), settings, 0)


def test_mistakes_are_named(tmp_path, data):
    with pytest.raises(UserError, match="'retian' is not in this data"):
        chosen_splits(data, RepresentationSettings(splits=("retian",)))
    with pytest.raises(UserError, match="no such folder"):
        picture_folder(tmp_path / "nothing", 0)
    shutil.copytree(_folder(tmp_path / "a", data), tmp_path / "forget")
    with pytest.raises(UserError, match="also a split's name"):
        chosen_splits(data, RepresentationSettings(images=str(tmp_path / "forget")))
    tiny = RepresentationSettings(splits=("forget",))
    with pytest.raises(UserError, match="gives no features"):
        compare(tmp_path / "t", [Model("model", TinyHandle())], chosen_splits(tiny_splits(), tiny), tiny, 0)
