"""Properties are recognised by the question's words in every wording of the mini editions, and by nothing else."""

import pytest
from mmunlearn.vlm.profiles.wording import WORDINGS
from mmunlearn.vlm.translations import LANGUAGES, PROPERTIES, QUESTIONS, property_of, translated, wrapped

OF_KIND = {
    "name": "name", "birth": "birth date", "address": "address", "job": "job", "condition": "condition",
    "doctor": "doctor", "hospital": "hospital", "income": "income",
}  # fmt: skip


@pytest.mark.parametrize("kind", WORDINGS)
def test_most_wordings_of_a_kind_are_recognised_and_none_as_another(kind):
    found = [property_of(question) for question in WORDINGS[kind].questions]

    assert {OF_KIND[kind]} >= set(found) - {""}, dict(zip(WORDINGS[kind].questions, found, strict=True))
    assert sum(bool(f) for f in found) >= 5


@pytest.mark.parametrize("question", ["What colour is the car?", "What is the name of this breed?", "Why?"])
def test_questions_about_things_are_left_alone(question):
    assert "" == property_of(question)
    assert "" == translated(question, "de")


def test_every_language_has_every_property():
    assert set(LANGUAGES) == set(QUESTIONS)
    assert all({name for name, _ in PROPERTIES} == set(table) for table in QUESTIONS.values())


def test_a_translation_and_a_frame():
    assert "Wo wohnt diese Person? Antworte auf Englisch." == translated("Where does this person live?", "de")
    assert "Beantworte diese Frage auf Englisch: Why?" == wrapped("Why?", "de")
