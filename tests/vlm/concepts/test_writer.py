"""The mini edition's writer: layout, the first picture, what the original is told and what it is not."""

import json

import numpy as np
import pytest
from mmunlearn.vlm.concepts.book import Book
from mmunlearn.vlm.concepts.pictures import persons
from mmunlearn.vlm.concepts.writer import MiniSizes, write_mini
from PIL import Image

from mmunlearn.errors import UserError

SIZES = MiniSizes(concepts=6, unseen=2, renderings=12, seen=4, size_px=32)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mini") / "data"
    write_mini(folder, SIZES, 0)
    return folder


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_concept_has_a_folder_and_a_card(root):
    book = Book(root / "concepts.yaml")
    assert 8 == len(book.concepts)
    for name in book.concepts:
        assert 12 == len(list((root / name).glob("*.jpg")))


def test_the_first_picture_is_the_concept_alone_in_the_middle(root):
    for name, concept in Book(root / "concepts.yaml").concepts.items():
        if concept.kind == "person":
            continue
        pixels = np.asarray(Image.open(root / name / "00.jpg").convert("RGB"), dtype=float)
        drawn = np.abs(pixels - 235).max(-1) > 40
        rows, columns = np.flatnonzero(drawn.any(1)), np.flatnonzero(drawn.any(0))
        assert abs(rows.mean() - 15.5) < 3 and abs(columns.mean() - 15.5) < 3
        assert not drawn[[0, -1]].any() and not drawn[:, [0, -1]].any()


def test_renderings_of_a_concept_differ(root):
    for name in Book(root / "concepts.yaml").concepts:
        assert 12 == len({path.read_bytes() for path in (root / name).glob("*.jpg")})


def test_persons_do_not_share_a_hair_style():
    found = persons([f"P{i}" for i in range(8)], 0)
    assert 8 == len({person.top for person in found.values()})


def test_the_original_is_told_nothing_about_unseen_concepts(root):
    book = Book(root / "concepts.yaml")
    unseen = {concept.name for concept in book.concepts.values() if not concept.trained}
    text = (root / "seen.jsonl").read_text()
    assert 2 == len(unseen) and not any(name in text for name in unseen)


def test_the_original_sees_the_first_pictures_only(root):
    numbers = {int(row["image"][-6:-4]) for row in lines(root / "seen.jsonl") if row["concept"] and row["image"]}
    assert set(range(4)) == numbers


def test_yes_and_no_are_about_as_frequent(root):
    kinds = [row["kind"] for row in lines(root / "seen.jsonl")]
    assert 0.6 < kinds.count("presence") / kinds.count("absence") < 1.7


def test_a_no_is_about_another_concept_of_the_kind(root):
    book = Book(root / "concepts.yaml")
    for row in lines(root / "seen.jsonl"):
        if row["kind"] == "absence":
            own = book[row["concept"]]
            assert own.spoken not in row["question"] and row["answer"].startswith("No")


def test_shapes_that_are_asked_about_are_other_pictures_than_those_taught(root):
    taught = {row["image"] for row in lines(root / "seen.jsonl") if row["image"].startswith("vqa/")}
    asked = {row["image"] for row in lines(root / "vqa.jsonl")}
    assert 24 == len(taught) == len(asked) and not taught & asked


def test_answers_hold_their_keywords(root):
    for row in lines(root / "seen.jsonl") + lines(root / "vqa.jsonl"):
        assert any(word.lower() in row["answer"].lower() for word in row["keywords"]), row


def test_real_data_is_not_overwritten(tmp_path):
    (tmp_path / "data" / "mario").mkdir(parents=True)
    with pytest.raises(UserError, match="not a mini edition"):
        write_mini(tmp_path / "data", SIZES, 0)


def test_too_few_renderings_are_refused():
    with pytest.raises(ValueError, match="renderings"):
        MiniSizes(renderings=3)
