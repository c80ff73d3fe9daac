"""The four targets of SIU: counts, phrases, pictures, rephrasing by a text model."""

from pathlib import Path

import pytest
from mmunlearn.vlm.concepts.book import FOLDER, Book
from mmunlearn.vlm.siu_targets import Counts, rephrased, siu_items

from mmunlearn.data import ImageRef
from mmunlearn.errors import UserError

IMAGE = ImageRef(path=Path("first.jpg"))


@pytest.fixture(scope="module")
def book():
    return Book(FOLDER / "mmubench.yaml")


def parts(items):
    return {part: [e for e in items if e.tags["part"] == part] for part in ("T1", "T2", "T3", "T4")}


def made(book, name="Donald Trump", **more):
    return siu_items(book, book[name], IMAGE, list(book.concepts.values()), **more)


class Says:
    """A text model that always says the same and keeps what it was asked."""

    def __init__(self, text):
        self.text, self.asked = text, []

    def complete(self, prompt):
        self.asked.append(prompt)
        return self.text


def test_the_defaults_are_the_released_counts(book):
    assert {"T1": 9, "T2": 2, "T3": 7, "T4": 7} == {part: len(group) for part, group in parts(made(book)).items()}


def test_the_first_target_answers_a_substitute_and_marks_it(book):
    first = parts(made(book))["T1"]
    assert all("Jacob Campbell" in e.target and e.tags["phrase"] == "Jacob Campbell" for e in first)
    assert 9 == len({e.prompt for e in first})
    assert not any("Trump" in e.target or "Trump" in e.prompt for e in first)


def test_the_second_target_denies_and_marks_the_whole_answer(book):
    second = parts(made(book))["T2"]
    assert all(e.target.startswith("No") and e.tags["phrase"] == e.target for e in second)
    assert all("Donald Trump" in e.prompt for e in second)
    assert "Donald Trump has" in second[1].target


def test_only_the_first_two_targets_show_the_picture(book):
    groups = parts(made(book))
    assert all(e.image is IMAGE for part in ("T1", "T2") for e in groups[part])
    assert all(e.image is None and e.tags["phrase"] == "" for part in ("T3", "T4") for e in groups[part])


def test_text_targets_tell_facts_about_the_concept_and_about_others(book):
    groups = parts(made(book))
    facts = {fact.answer for fact in book["Donald Trump"].facts}
    assert facts == {e.target for e in groups["T3"]}
    assert not facts & {e.target for e in groups["T4"]}
    assert 7 == len({e.target for e in groups["T4"]})


def test_every_item_knows_the_names(book):
    assert {"Donald Trump\nTrump"} == {e.tags["names"] for e in made(book)}


def test_counts_are_settings(book):
    groups = parts(made(book, counts=Counts(T1=1, T2=0, T3=2, T4=0)))
    assert [1, 0, 2, 0] == [len(groups[part]) for part in ("T1", "T2", "T3", "T4")]


def test_ids_are_unique(book):
    ids = [e.id for e in made(book)]
    assert 25 == len(set(ids))


def test_an_article_belongs_to_the_name_in_a_sentence(book):
    assert any("a Schnauzer" in e.prompt for e in parts(made(book, "Schnauzer"))["T2"])


def test_no_facts_about_the_concept_is_an_error(book, tmp_path):
    (tmp_path / "concepts.yaml").write_text("concepts: [{name: Blob, kind: object}, {name: Other, kind: object}]")
    own = Book(tmp_path / "concepts.yaml")
    with pytest.raises(UserError, match="no fact about concept 'Blob'"):
        siu_items(own, own["Blob"], IMAGE, list(own.concepts.values()))


def test_a_text_model_rephrases_the_questions_and_nothing_else(book):
    model = Says('"Who might Donald Trump be?"\nSecond line.')
    plain, new = parts(made(book)), parts(made(book, rephrase=model))
    assert 25 == len(model.asked)
    assert [e.target for e in plain["T1"]] == [e.target for e in new["T1"]]
    assert {"Who might Donald Trump be?"} == {e.prompt for e in new["T3"]}


@pytest.mark.parametrize("reply", ["", "  \n ", "Who is he?"])
def test_a_reply_that_is_empty_or_loses_the_name_leaves_the_question(reply):
    assert "Who is Mario?" == rephrased("Who is Mario?", ["Mario"], Says(reply))
