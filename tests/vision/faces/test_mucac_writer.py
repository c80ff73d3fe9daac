"""The mini MUCAC lies on disk as CelebA-HQ does."""

import json

import pytest
from mmunlearn.vision.faces.mucac_writer import ATTRIBUTES, IDENTITIES, NAMES, PICTURES, MucacSizes, write_mucac
from PIL import Image

from mmunlearn.errors import UserError

SIZES = MucacSizes(
    test_identities=3,
    forget_identities=5,
    retain_identities=8,
    unseen_identities=3,
    pictures_per_identity=3,
    size_px=64,
    label_noise_frac=0.1,
)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("mucac") / "data"
    return root, write_mucac(root, SIZES, 3)


def identities(root):
    lines = (root / IDENTITIES).read_text().splitlines()
    return {name: int(number) for name, number in (line.split() for line in lines)}


def test_pictures_are_numbered_jpegs_of_the_asked_size(written):
    root, _ = written
    assert {f"{number}.jpg" for number in range(57)} == {path.name for path in (root / PICTURES).iterdir()}
    with Image.open(root / PICTURES / "0.jpg") as picture:
        assert ("JPEG", "RGB", (64, 64)) == (picture.format, picture.mode, picture.size)


def test_identity_numbers_fall_on_all_sides_of_the_split(written):
    root, manifest = written
    numbers = set(identities(root).values())
    parts = {
        "test": {n for n in numbers if n < 190},
        "forget": {n for n in numbers if 190 <= n < 1250},
        "retain": {n for n in numbers if 1250 <= n < 4855},
        "unseen": {n for n in numbers if n >= 4855},
    }
    assert {"test": 3, "forget": 5, "retain": 8, "unseen": 3} == {part: len(found) for part, found in parts.items()}
    assert {"test": 9, "forget": 15, "retain": 24, "unseen": 9} == manifest["counts"]
    assert max(numbers) <= 6217 and min(numbers) >= 1
    assert manifest == json.loads((root / "mini.json").read_text())


def test_the_attribute_list_has_two_header_lines_and_the_official_fields(written):
    root, manifest = written
    lines = (root / ATTRIBUTES).read_text().splitlines()
    assert "57" == lines[0]
    assert list(NAMES) == lines[1].split() and 40 == len(NAMES)
    assert 59 == len(lines)
    parts = identities(root)
    male = {"forget": 0, "retain": 0}
    for line in lines[2:]:
        fields = line.split()
        assert 41 == len(fields) and set(fields[1:]) <= {"-1", "1"}
        part = "forget" if 190 <= parts[fields[0]] < 1250 else "retain" if 1250 <= parts[fields[0]] < 4855 else ""
        if part:
            male[part] += fields[21] == "1"
    assert ("Male", "Smiling", "Young") == (NAMES[20], NAMES[31], NAMES[39])
    for part, count in male.items():
        assert manifest["positive_frac"][part]["Male"] == pytest.approx(count / manifest["counts"][part], abs=1e-4)


def test_a_smile_is_not_settled_by_the_identity(written):
    root, _ = written
    parts = identities(root)
    smiles: dict[int, set[str]] = {}
    for line in (root / ATTRIBUTES).read_text().splitlines()[2:]:
        fields = line.split()
        smiles.setdefault(parts[fields[0]], set()).add(fields[32])
    assert sum(len(values) == 2 for values in smiles.values()) > len(smiles) / 3


def test_the_same_seed_writes_the_same_bytes(written, tmp_path):
    root, manifest = written
    assert manifest == write_mucac(tmp_path / "again", SIZES, 3)
    for path in root.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "again" / path.relative_to(root)).read_bytes()


def test_only_an_older_mini_edition_is_replaced(tmp_path):
    small = MucacSizes(
        test_identities=1, forget_identities=1, retain_identities=1, unseen_identities=1, pictures_per_identity=1
    )
    write_mucac(tmp_path / "data", SIZES, 3)
    write_mucac(tmp_path / "data", small, 3)
    assert 4 == len(list((tmp_path / "data" / PICTURES).iterdir()))
    (tmp_path / "real" / PICTURES).mkdir(parents=True)
    with pytest.raises(UserError, match="not a mini edition"):
        write_mucac(tmp_path / "real", small, 3)
