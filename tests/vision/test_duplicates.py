"""The perceptual hash against the imagehash package, pairs and cleaning against hand-counted cases."""

import imagehash
import numpy as np
import pytest
from mmunlearn.vision import duplicates
from mmunlearn.vision.benchmarks._mufac_split import clean, whole_groups
from mmunlearn.vision.duplicates import find_duplicates, first_of_each, hashes, phash
from PIL import Image

from mmunlearn.data import Example, ImageRef
from mmunlearn.errors import UserError


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MMUNLEARN_CACHE", str(tmp_path / "cache"))


def picture(seed, size=(48, 40), mode="RGB"):
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (6, 5, 3), dtype=np.uint8)).resize(size).convert(mode)


@pytest.mark.parametrize("seed", range(25))
def test_hash_equals_the_imagehash_package_bit_for_bit(seed):
    mode, size = ["RGB", "L", "P", "RGBA"][seed % 4], [(48, 40), (128, 128), (31, 77), (8, 8)][seed // 4 % 4]
    image = picture(seed, size, mode)
    assert str(imagehash.phash(image)) == f"{phash(image):016x}"


def test_hash_of_flat_pictures_equals_the_imagehash_package():
    for colour in ("black", "white", (17, 99, 3)):
        image = Image.new("RGB", (64, 64), colour)
        assert str(imagehash.phash(image)) == f"{phash(image):016x}"


def saved(folder, name, seed):
    path = folder / f"{name}.png"
    picture(seed).save(path)
    return ImageRef(path=path)


def part(folder, name, seeds, families=None):
    return [
        Example(id=f"{name}/{i}", image=saved(folder, f"{name}{i}", s), tags={"family": (families or "abcdef")[i]})
        for i, s in enumerate(seeds)
    ]


def test_pairs_between_and_inside_parts_by_hand(tmp_path):
    # forget 1 1 2, retain 1 3 3 3, test 2 4: pictures named by their seeds.
    parts = {
        "forget": part(tmp_path, "forget", [1, 1, 2], "aab"),
        "retain": part(tmp_path, "retain", [1, 3, 3, 3], "aabb"),
        "test": part(tmp_path, "test", [2, 4]),
    }
    report = find_duplicates(parts, tag="family")
    between = {(b.first, b.second): (b.pairs, b.first_rows, b.second_rows) for b in report.between}
    assert {("forget", "retain"): (2, 2, 1), ("forget", "test"): (1, 1, 1), ("retain", "test"): (0, 0, 0)} == between
    # retain: three equal pictures are three pairs and two rows too many; families a b b give two crossing pairs.
    inside = {i.part: (i.pairs, i.surplus, i.across) for i in report.inside}
    assert {"forget": (1, 1, 0), "retain": (3, 2, 2), "test": (0, 0, 0)} == inside
    assert ("forget/0", "forget/1", "retain/0") in report.groups
    assert "inside retain: 3 pairs (2 rows more than pictures, 2 pairs cross)" in report.lines()


def test_hashes_of_files_are_computed_once_and_again_when_a_file_changes(tmp_path, monkeypatch):
    refs = [saved(tmp_path, name, seed) for name, seed in (("a", 1), ("b", 2))]
    first = hashes(refs)
    calls = []
    monkeypatch.setattr(duplicates, "phash", lambda image: calls.append(1) or 0)
    assert first == hashes(refs) and not calls
    picture(9, (60, 60)).save(refs[0].path)
    hashes(refs)
    assert 2 == len(calls)


def test_a_picture_that_cannot_be_decoded_is_named(tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8 no")
    with pytest.raises(UserError, match=r"broken\.jpg"):
        hashes([ImageRef(path=tmp_path / "broken.jpg")])


def test_first_of_each_keeps_order_and_leaves_banned_pictures_out():
    assert [0, 3] == first_of_each([5, 7, 7, 2, 5], frozenset({7}))


def test_cleaning_in_the_published_order_by_hand():
    # val 30 is dropped for being in test although test then loses it to training.
    parts = {"forget": [10, 11, 11, 12], "retain": [12, 13, 13, 30], "val": [40, 30, 40], "test": [30, 50, 50, 12]}
    assert {"forget": [0, 1], "retain": [0, 1, 3], "val": [0], "test": [1]} == clean(parts)


def nearest_by_search(groups, size):
    """Every choice of groups, tried."""
    names = list(dict.fromkeys(groups))
    sums = [sum(groups.count(n) for i, n in enumerate(names) if bits >> i & 1) for bits in range(1 << len(names))]
    return min(sums, key=lambda total: (abs(total - size), total))


@pytest.mark.parametrize("seed", range(12))
def test_whole_groups_come_as_near_as_any_choice(seed):
    rng = np.random.default_rng(seed)
    groups = [str(g) for g in rng.integers(0, 7, 30) ** 2]
    for size in (1, 9, 14, 22):
        rows = whole_groups(groups, size)
        chosen = {groups[i] for i in rows}
        assert [i for i, g in enumerate(groups) if g in chosen] == rows
        assert nearest_by_search(groups, size) == len(rows)


def test_whole_groups_prefer_the_first_ones():
    assert [0, 1, 2, 3] == whole_groups(list("aabbccdd"), 4)
