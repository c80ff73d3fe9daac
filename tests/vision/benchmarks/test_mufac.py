"""The MUFAC reader on little folders in the real layout: roles, order, variants, counts and every known defect."""

import csv

import numpy as np
import pytest
from mmunlearn.vision.benchmarks import mufac
from mmunlearn.vision.benchmarks.mufac import CLEANED, FOLDER, Mufac
from PIL import Image

from mmunlearn.cards import Card
from mmunlearn.data import Role
from mmunlearn.errors import UserError

HEADER = ("family_id", "person_id", "age_class", "image_path")
FIRST = {"train": 1, "val": 801, "test": 851}
# (family offset, role, letter, picture): two persons in families 1 and 2, rows not sorted by person.
TRAIN = [(0, "D", "a", 1), (0, "F", "e", 2), (0, "D", "b", 3), (1, "M", "h", 4), (1, "M", "h", 2), (2, "GF", "g", 6)]
VAL = [(0, "S", "c", 11), (1, "S", "d", 12)]
TEST = [(0, "GM", "f", 21), (1, "D", "b", 3)]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MMUNLEARN_CACHE", str(tmp_path / "cache"))


def rows_of(part, facts):
    """Rows as the table has them, and the picture's seed."""
    rows = []
    for i, (family, role, letter, seed) in enumerate(facts):
        name = f"F{FIRST[part] + family:04d}"
        rows.append(((name, role, letter, f"{name}_AGE_{role}_40_{letter}{i}.jpg"), seed))
    return rows


def write(folder, part, facts, header=HEADER, images=None):
    folder.mkdir(parents=True, exist_ok=True)
    rows = rows_of(part, facts)
    pictures = folder / (images or f"{part}_images")
    pictures.mkdir(exist_ok=True)
    for row, seed in rows:
        pixels = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((32, 32)).save(pictures / row[3], quality=95)
    with open(folder / f"custom_{part}_dataset.csv", "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows(row for row, _ in rows)


@pytest.fixture
def root(tmp_path):
    for part, facts in (("train", TRAIN), ("val", VAL), ("test", TEST)):
        write(tmp_path / "data" / FOLDER, part, facts)
    return tmp_path / "data"


def read(root, edition="mini", **settings):
    return Mufac({"forget_rows": 2, **settings}).splits(root, edition)


def numbers(split):
    return [int(e.id.rpartition("/")[2]) for e in split]


def test_val_is_the_test_set_and_test_is_the_unseen_set(root):
    splits = read(root)
    assert ["F0801", "F0802"] == [e.tags["family"] for e in splits["test"]]
    assert ["F0851", "F0852"] == [e.tags["family"] for e in splits["unseen"]]
    assert splits["test"].ids == splits["calibration"].ids
    assert {
        "forget": Role.FORGET, "retain": Role.RETAIN, "train": Role.TRAIN, "test": Role.HOLDOUT,
        "unseen": Role.UNSEEN, "calibration": Role.HOLDOUT,
    } == {name: split.role for name, split in splits.items()}  # fmt: skip


def test_file_roles_take_val_for_calibration_and_test_for_test(root):
    splits = read(root, roles="files")
    assert ["F0851", "F0852"] == [e.tags["family"] for e in splits["test"]]
    assert ["F0801", "F0802"] == [e.tags["family"] for e in splits["calibration"]]


def test_the_first_rows_are_forgotten_and_sorting_ids_gives_the_tables_order(root):
    splits = read(root)
    assert [0, 1] == numbers(splits["forget"])
    assert [2, 3, 4, 5] == numbers(splits["retain"])
    assert sorted(splits["train"].ids) == list(splits["train"].ids)
    assert "mufac/train/000000" == splits["forget"][0].id


def test_the_label_is_the_tables_letter_and_the_person_is_role_in_family(root):
    train = read(root)["train"]
    assert [0, 4, 1, 7, 7, 6] == [e.target for e in train]
    assert {"family": "F0001", "person": "F0001/D", "age_class": "a"} == train[0].tags
    assert "F0001_AGE_D_40_a0.jpg" == train[0].image.path.name


def test_the_folder_itself_may_be_the_root(root):
    assert read(root)["train"].ids == read(root / FOLDER)["train"].ids


def test_identity_split_keeps_persons_whole(root):
    splits = read(root, split="identity")
    forget, retain = ({e.tags["person"] for e in splits[name]} for name in ("forget", "retain"))
    assert not forget & retain
    # Two rows: F0001/D has two and comes first.
    assert [0, 2] == numbers(splits["forget"])
    assert read(root)["train"].ids == splits["train"].ids


def test_identity_split_can_keep_families_whole(root):
    splits = read(root, split="identity", whole="family")
    assert {"F0002"} == {e.tags["family"] for e in splits["forget"]}


def test_clean_split_drops_duplicates_in_the_published_order(root):
    # Row 1 (picture 2) is also row 4 (retain); unseen row 1 (picture 3) is also training row 2.
    splits = read(root, split="clean")
    assert [0] == numbers(splits["forget"])
    assert [2, 3, 4, 5] == numbers(splits["retain"])
    assert [0] == numbers(splits["unseen"])
    assert [0, 1] == numbers(splits["test"])


def test_a_cleaned_sibling_folder_is_read_instead(root):
    for part, facts in (("train", TRAIN[:1] + TRAIN[2:]), ("val", VAL), ("test", TEST[:1])):
        write(root / CLEANED, part, facts)
    splits = read(root, split="clean", forget_rows=1)
    assert 5 == len(splits["train"]) and 1 == len(splits["unseen"])
    assert all(CLEANED in str(e.image.path) for e in splits["train"])
    assert splits["train"].ids == read(root / FOLDER, split="clean", forget_rows=1)["train"].ids
    assert 6 == len(read(root)["train"])


def test_the_mirrors_column_names_and_folders_are_understood(root):
    folder = root / FOLDER
    table = folder / "custom_train_dataset.csv"
    rows = list(csv.reader(table.open()))[1:]
    with table.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image_path", "age_group", "identity", "forget_flag"])
        writer.writerows([image, letter, person, i in (3, 4)] for i, (_, person, letter, image) in enumerate(rows))
    (folder / "train_images").rename(folder / "train_images_part1")
    (folder / "train_images_part2").mkdir()
    last = folder / "train_images_part1" / rows[-1][3]
    last.rename(folder / "train_images_part2" / last.name)
    splits = read(root)
    assert [3, 4] == numbers(splits["forget"])
    assert "F0002/M" == splits["forget"][0].tags["person"]


def test_duplicates_report_names_pairs_and_families(root):
    report = Mufac({"forget_rows": 2}).duplicates(root, "mini")
    between = {(b.first, b.second): b.pairs for b in report.between}
    assert 1 == between["forget", "retain"] == between["retain", "unseen"]
    assert 0 == between["test", "unseen"]


def counted(monkeypatch, **counts):
    """The card, with other counts for the original variant."""
    card = Mufac().card
    splits = {name: facts.model_copy(update={"count": counts.get(name, {})}) for name, facts in card.splits.items()}
    changed: Card = card.model_copy(update={"splits": splits})
    monkeypatch.setattr(Mufac, "card", property(lambda self: changed))


def test_full_edition_compares_counts_with_the_card(root, monkeypatch):
    counts = {"train": {"original": 6}, "test": {"original": 2}, "unseen": {"original": 2}}
    counted(monkeypatch, **counts)
    assert 6 == len(read(root, "full")["train"])
    counted(monkeypatch, **{**counts, "test": {"original": 9, "clean": 2}})
    with pytest.raises(UserError) as error:
        read(root, "full")
    assert "custom_val_dataset.csv: 2 examples for test, expected 9 (original)" in str(error.value)
    assert "number of variant clean" in str(error.value) and "benchmark.check_counts=false" in str(error.value)
    assert 1 == len(str(error.value).splitlines())
    assert 2 == len(read(root, "full", check_counts=False)["test"])


def test_full_edition_compares_what_cleaning_leaves(root, monkeypatch):
    raw = {"train": {"original": 6}, "test": {"original": 2}, "unseen": {"original": 2}}
    clean = {"train": {"original": 6, "clean": 5}, "test": {"original": 2, "clean": 2}, "unseen": {"original": 2}}
    counted(monkeypatch, **{**clean, "unseen": {"original": 2, "clean": 1}})
    assert 1 == len(read(root, "full", split="clean")["unseen"])
    counted(monkeypatch, **{**raw, "unseen": {"original": 2, "clean": 2}})
    with pytest.raises(UserError, match=r"1 examples for unseen, expected 2 \(clean\)"):
        read(root, "full", split="clean")


def test_mini_edition_forgets_as_many_rows_as_the_card_says(tmp_path):
    sizes = Mufac().card.editions["mini"].data
    assert sizes["forget_rows"] < sizes["train_families"] * sizes["pictures_per_class"] * 8


def test_counts_of_the_card_add_up():
    counts = {name: facts.count for name, facts in Mufac().card.splits.items()}
    for variant in ("original", "clean"):
        assert counts["train"][variant] == counts["forget"][variant] + counts["retain"][variant]
    assert 13_068 == sum(counts[name]["original"] for name in ("train", "test", "unseen"))
    assert 8 == len(mufac.LETTERS) == len(Mufac().card.labels)
