"""The mini MUFAC lies on disk as the real one does, with its noise and duplicates told in mini.json."""

import csv
import hashlib
import json
import re
from collections import Counter, defaultdict

import pytest
from mmunlearn.vision.faces.mufac_writer import FOLDER, LETTERS, YEARS, MufacSizes, write_mufac
from PIL import Image

from mmunlearn.errors import UserError

SIZES = MufacSizes(
    train_families=6,
    val_families=2,
    test_families=2,
    pictures_per_class=1,
    forget_rows=16,
    label_noise_frac=0.13,
    duplicate_frac=0.07,
    forget_retain_duplicates=1,
    train_test_duplicates=1,
    val_test_duplicates=1,
)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("mufac")
    return root / FOLDER, write_mufac(root, SIZES, 5)


def table(folder, part):
    with (folder / f"custom_{part}_dataset.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_tables_folders_and_names_are_those_of_the_real_data(written):
    folder, _ = written
    for part, families in {"train": ("F0001", "F0006"), "val": ("F0801", "F0802"), "test": ("F0851", "F0852")}.items():
        header = (folder / f"custom_{part}_dataset.csv").read_text().splitlines()[0]
        assert "family_id,person_id,age_class,image_path" == header
        rows = table(folder, part)
        assert families == (rows[0]["family_id"], rows[-1]["family_id"])
        assert {row["image_path"] for row in rows} == {path.name for path in (folder / f"{part}_images").iterdir()}
        assert len(rows) == len({row["image_path"] for row in rows})
        for row in rows:
            match = re.fullmatch(r"(F\d{4})_AGE_([A-Z]+)_(\d+)_([a-h])(\d+)\.jpg", row["image_path"])
            assert (row["family_id"], row["person_id"], row["age_class"]) == (match[1], match[2], match[4])
            assert YEARS[1][0] <= int(match[3]) <= YEARS[7][1]


def test_pictures_are_rgb_jpeg_of_128_pixels(written):
    folder, _ = written
    for path in (folder / "val_images").iterdir():
        with Image.open(path) as picture:
            assert ("JPEG", "RGB", (128, 128)) == (picture.format, picture.mode, picture.size)


def test_counts_and_classes_are_as_asked(written):
    folder, manifest = written
    assert {"forget": 16, "retain": 32, "val": 16, "test": 16} == manifest["counts"]
    assert manifest == json.loads((folder / "mini.json").read_text())
    assert 2 + 4 + 2 + 2 >= len(manifest["mislabelled"]) > 0


def test_persons_are_seen_at_several_ages(written):
    folder, _ = written
    classes, pictures = defaultdict(set), Counter()
    for row in table(folder, "train"):
        classes[row["family_id"], row["person_id"]].add(row["age_class"])
        pictures[row["family_id"], row["person_id"]] += 1
    several = [person for person, count in pictures.items() if count > 1]
    assert len(several) > 5
    assert sum(len(classes[person]) > 1 for person in several) > 0.8 * len(several)


def test_duplicates_are_equal_files_of_other_families_and_all_are_told(written):
    folder, manifest = written
    digests = defaultdict(set)
    for part in ("train", "val", "test"):
        for row in table(folder, part):
            content = (folder / f"{part}_images" / row["image_path"]).read_bytes()
            digests[hashlib.sha256(content).hexdigest()].add(row["image_path"])
    found = {frozenset(names) for names in digests.values() if len(names) > 1}
    told = {frozenset((entry["file"], entry["of"])) for entry in manifest["duplicates"]}
    assert found == told
    assert all(len({name[:5] for name in pair}) == 2 for pair in found)
    assert {"forget", "retain", "val", "test", "forget-retain", "train-test", "val-test"} == {
        entry["between"] for entry in manifest["duplicates"]
    }


def test_a_wrong_letter_is_the_tables_letter_and_not_the_true_class(written):
    folder, manifest = written
    letters = {row["image_path"]: row["age_class"] for part in ("train", "val", "test") for row in table(folder, part)}
    for entry in manifest["mislabelled"]:
        assert letters[entry["file"]] == entry["age_class"] != entry["true_class"]
        assert entry["true_class"] in LETTERS


def test_the_same_seed_writes_the_same_bytes_and_other_sizes_the_same_families(written, tmp_path):
    folder, manifest = written
    assert manifest == write_mufac(tmp_path, SIZES, 5)
    for path in folder.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / FOLDER / path.relative_to(folder)).read_bytes()


def test_another_seed_writes_other_pictures(written, tmp_path):
    folder, _ = written
    small = MufacSizes(train_families=1, val_families=1, test_families=1, pictures_per_class=1, forget_rows=4)
    write_mufac(tmp_path, small, 6)
    ours = {path.read_bytes() for path in (tmp_path / FOLDER).rglob("*.jpg")}
    assert not ours & {path.read_bytes() for path in folder.rglob("*.jpg")}


def test_real_data_in_the_way_are_never_replaced(tmp_path):
    (tmp_path / FOLDER / "train_images").mkdir(parents=True)
    with pytest.raises(UserError, match="not a mini edition"):
        write_mufac(tmp_path, SIZES, 0)
    assert [FOLDER] == [path.name for path in tmp_path.iterdir()]
