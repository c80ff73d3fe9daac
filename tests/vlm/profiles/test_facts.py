"""Invented facts: repeatable, mostly unique, and short when said."""

import itertools

import pytest
from mmunlearn.vlm.profiles.facts import CONDITIONS, HOSPITALS, KINDS, People
from mmunlearn.vlm.profiles.questions import qa_list
from mmunlearn.vlm.profiles.wording import WORDINGS

from mmunlearn.seeds import generator


def people(seed=0):
    return People(generator(seed, "test"))


@pytest.fixture(scope="module")
def many():
    source = people()
    return [source.profile(male=bool(i % 2)) for i in range(60)]


def test_equal_seeds_draw_equal_people_and_others_differ():
    assert people().profile(male=True) == people().profile(male=True)
    assert people().profile(male=True) != people(1).profile(male=True)


def test_names_and_jobs_of_sixty_people_are_all_different(many):
    for kind in ("name", "job"):
        values = [value for profile in many for value in profile[kind].values()]
        assert len(values) == len(set(values))


@pytest.mark.parametrize("kind", ["address", "doctor", "hospital", "income", "birth"])
def test_a_guess_at_a_fact_is_hardly_ever_right(many, kind):
    """Two people share a whole fact in fewer than two of a hundred pairs."""
    pairs = list(itertools.combinations([profile[kind] for profile in many], 2))
    assert sum(a == b for a, b in pairs) < 0.02 * len(pairs)


def test_conditions_and_hospitals_have_several_words():
    assert all(len(words.split()) >= 2 for words in (*CONDITIONS, *HOSPITALS))
    assert len(CONDITIONS) == len(set(CONDITIONS)) >= 40


def test_every_kind_has_six_questions_and_three_answers_that_name_no_one():
    assert set(KINDS) == set(WORDINGS)
    for wording in WORDINGS.values():
        assert (6, 3) == (len(set(wording.questions)), len(set(wording.answers)))
        assert all("{" not in question and len(question.split()) <= 12 for question in wording.questions)
    questions = [question for wording in WORDINGS.values() for question in wording.questions]
    assert len(questions) == len(set(questions))


def test_items_of_a_person(many):
    source = people()
    profile = source.profile(male=False)
    items = qa_list(source, profile, male=False, perturbed=4)
    assert len(KINDS) == len(items)
    for kind, item in zip(KINDS, items, strict=True):
        texts = (item["answer"], item["paraphrased_answer"], *item["perturbed_answer"])
        assert all(5 <= len(text.split()) <= 12 for text in texts)
        assert item["answer"] != item["paraphrased_answer"]
        asked = [item["question"], *item["paraphrased_question"]]
        assert 4 == len(set(asked)) and set(asked) <= set(WORDINGS[kind].questions)
        for text in texts[:2]:
            assert all(key in text for key in item["keywords"])
        for text in item["perturbed_answer"]:
            assert not any(key in text for key in item["keywords"])
        assert 4 == len(set(item["perturbed_answer"]))
        name = profile["name"]["name"]
        assert not any(part in question for part in name.split() for question in asked)


def test_keywords_leave_out_articles_titles_and_units():
    source = people()
    profile = {
        **source.profile(male=True), "job": {"job": "an air broker"}, "doctor": {"doctor": "Doctor Ann Lee"},
        "income": {"income": "62,200 dollars"}, "birth": {"day": "14 March", "year": "1962"},
    }  # fmt: skip
    items = dict(zip(KINDS, qa_list(source, profile, male=True, perturbed=1), strict=True))
    found = {kind: items[kind]["keywords"] for kind in ("job", "doctor", "income", "birth")}
    assert {
        "job": ["air broker"], "doctor": ["Ann Lee"], "income": ["62,200"], "birth": ["14 March", "1962"]
    } == found  # fmt: skip
