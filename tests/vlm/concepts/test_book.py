"""Concept cards: packaged ones are whole, broken ones are refused with file and field."""

import pytest
from mmunlearn.vlm.concepts import items
from mmunlearn.vlm.concepts.book import FOLDER, LANGUAGES, Book, find_book, slug, templates

from mmunlearn.errors import UserError


def write(folder, text):
    path = folder / "concepts.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_twenty_concepts_of_the_paper_have_cards_with_facts():
    book = Book(FOLDER / "mmubench.yaml")
    assert 20 == len(book.concepts)
    assert all(concept.facts and concept.multihop for concept in book.concepts.values())


def test_no_multihop_question_names_its_concept():
    for concept in Book(FOLDER / "mmubench.yaml").concepts.values():
        for hop in concept.multihop:
            assert not any(name.lower() in hop.question.lower() for name in concept.names), hop.question


@pytest.mark.parametrize("kind", sorted(templates()))
def test_every_kind_asks_in_nine_ways_and_six_languages(kind):
    found = templates()[kind]
    assert 9 == len(found.name_questions) == len(set(found.name_questions)) == len(found.name_answers)
    assert set(LANGUAGES) == set(found.multilingual) == set(found.multilingual_answers)


def test_a_concept_is_found_by_name_variant_and_folder():
    book = Book(FOLDER / "mmubench.yaml")
    assert "Donald Trump" == book["donald_trump"].name == book["TRUMP"].name == book["Donald Trump"].name
    assert "Pablo Picasso" in book and "nobody" not in book


def test_an_unknown_concept_gets_a_near_miss():
    with pytest.raises(UserError, match="Roger Federer"):
        Book(FOLDER / "mmubench.yaml")["Rodger Federer"]


def test_a_folder_with_its_own_cards_is_read_by_them(tmp_path):
    write(tmp_path, "concepts: [{name: Blob, kind: object}]")
    assert ["blob"] == list(find_book(tmp_path).concepts)
    assert 20 == len(find_book(tmp_path / "elsewhere").concepts)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("concepts: []", "concepts.yaml.concepts: .*at least 1"),
        ("{}", "concepts: is required"),
        ("concepts: [{name: A, kind: animal}]", "kind 'animal'"),
        ("concepts: [{name: A}]", "concepts.0.kind: is required"),
        ("concepts: [{name: '', kind: object}]", "name"),
        ("concepts: [{name: 特朗普, kind: person}]", "gives no folder name"),
        ("concepts: [{name: A b, kind: object}, {name: a-B, kind: object}]", "stands there twice"),
        ("concepts: [{name: A, kind: object, fact: []}]", "fact: no such setting.*facts"),
        ("concepts: [{name: A, kind: object, facts: [{question: Q, answer: B, keywords: []}]}]", "keywords"),
        ("concepts: [{name: A, kind: object, facts: [{question: Q, keywords: [b]}]}]", "answer: is required"),
        ("concepts: [name: A", "cannot be read as YAML"),
    ],
)
def test_broken_cards_are_refused(tmp_path, text, message):
    with pytest.raises(UserError, match=message) as told:
        Book(write(tmp_path, text))
    assert "concepts.yaml" in str(told.value)


def test_slugs_are_plain():
    assert ["danny_jones", "u_2", "cafe"] == [slug("Danny  Jones"), slug("U-2!"), slug("Café")]


def test_names_go_through_questions_and_answers_in_turn():
    book = Book(FOLDER / "mmubench.yaml")
    qas = items.naming(book, book["Mario"], range(8, 11))
    kind = templates()["person"]
    assert [kind.name_questions[i] for i in (8, 0, 1)] == [qa.question for qa in qas]
    assert all("Mario" in qa.answer and qa.keywords == ("Mario", "Super Mario") for qa in qas)


def test_sentences_begin_with_a_capital():
    assert "A crab it is." == items.sentence("{name} it is.", "a crab")


def test_few_items_are_asked_again():
    book = Book(FOLDER / "mmubench.yaml")
    known = items.facts(book["Picasso"])
    assert 3 == len(items.first(known, 3)) and 1 == len(set(items.first(known, 3)))
    assert [] == items.first([], 3)
