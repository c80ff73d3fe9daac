import json
from collections import Counter

import numpy as np
import pytest
from mmunlearn.diffusion.brands.book import BRANDS, SCENES, THINGS
from mmunlearn.diffusion.brands.names import NO_BRAND
from mmunlearn.diffusion.brands.pictures import LETTERS, MARKS, picture
from mmunlearn.diffusion.brands.writer import MiniSizes, Shown, alikeness, write_mini

from mmunlearn.errors import UserError

SIZES = MiniSizes(brands=3, things=2, scenes=2, pictures=4, controls=1)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    path = tmp_path_factory.mktemp("mini") / "data"
    write_mini(path, SIZES, 0)
    return path


def test_every_brand_has_every_mark_and_the_letters_to_write_it():
    assert 12 == len(BRANDS) and 12 == len({brand.emblem for brand in BRANDS.values()})
    assert 12 == len({(brand.colour, brand.pattern) for brand in BRANDS.values()})
    assert {letter for brand in BRANDS.values() for letter in brand.letters} <= set(LETTERS)


def test_a_mark_changes_the_picture_and_nothing_else_does():
    def drawn(brand, mark, seed=3):
        return np.asarray(picture(brand, THINGS[0], next(iter(SCENES)), mark, np.random.default_rng(seed), 32))

    for mark in MARKS:
        assert (drawn("Veltro", mark) == drawn("Veltro", mark)).all()
        assert (drawn("Veltro", mark) != drawn("Korda", mark)).any()
        assert (drawn("Veltro", mark) != drawn(None, "plain")).any()


def test_questions_are_the_templates_words_with_true_answers(root):
    rows = [json.loads(line) for line in (root / "questions.jsonl").read_text().splitlines()]
    for row in rows:
        labels = [name.split("/")[0] for name in row["images"]]
        if row["kind"] == "label":
            assert labels == [row["answer"]] and NO_BRAND in row["prompt"]
        if row["kind"] == "yes_no":
            asked = next(name for name in BRANDS if name in row["prompt"])
            assert row["answer"] == ("yes" if labels == [asked] else "no")
        if row["kind"] == "pair":
            shown, grade = row["answer"].split(". Score: ")
            first, second, said = shown.split("; ")
            things = [name.split("/")[1] for name in row["images"]]
            told = [first.removeprefix("picture 1: "), second.removeprefix("picture 2: ")]
            assert things == [words.split()[0] for words in told]
            places = [words.partition(" ")[2] for words in told]
            same = [values[0] == values[1] for values in (things, places)]
            assert said == "{} thing, {} place".format(*("same" if one else "other" for one in same))
            assert int(grade) == {(True, True): 10, (True, False): 6, (False, True): 3, (False, False): 0}[tuple(same)]
    grades = Counter(row["answer"].rpartition(" ")[2] for row in rows if row["kind"] == "pair")
    assert {"10", "6", "3", "0"} == set(grades) and max(grades.values()) - min(grades.values()) <= len(BRANDS) + 1
    assert {"label", "yes_no", "pair"} == {row["kind"] for row in rows}
    test = {name for row in rows if row["part"] == "test" for name in row["images"]}
    train = {name for row in rows if row["part"] == "train" for name in row["images"]}
    assert test and not test & train


def test_alikeness_is_that_of_thing_and_place_whatever_the_brand():
    def shown(label, thing, scene):
        return Shown("f", label, thing, scene, "plain", 0, "p")

    one = shown("Veltro", "mug", "on grass")
    others = [shown("Korda", *place) for place in (("mug", "on grass"), ("mug", "at night"), ("car", "on grass"),
                                                   ("car", "at night"))]  # fmt: skip
    assert [10, 6, 3, 0] == [alikeness(one, other) for other in others]


def test_real_data_are_never_replaced(tmp_path):
    (tmp_path / "unbranding_v1.csv").write_text("filename,prompt,seed\n")
    with pytest.raises(UserError, match="not a mini edition"):
        write_mini(tmp_path, SIZES, 0)
