"""Candidates: nothing told, nothing twice, names found where tags or other goals say them."""

import numpy as np
import pytest
from mmunlearn.vlm.asking import answers_of, name_of, rewordings, siblings, stored, tells

from mmunlearn.data import Example, ImageRef

PICTURE = ImageRef(content=b"not read")
JOB = Example(
    id="job", image=PICTURE, prompt="What is the job of this person?", target="This person works as a baker.",
    choices=("a", "b"), tags={"identity": "7", "keywords": "baker"},
)  # fmt: skip
NAME = Example(
    id="name", image=PICTURE, prompt="Who is shown?", target="This is Ann Lee.",
    tags={"identity": "7", "keywords": "Ann Lee"},
)  # fmt: skip


@pytest.mark.parametrize(
    ("prompt", "told"),
    [("Is it a baker?", True), ("The BAKER's job?", True), ("Which bakery?", False), ("What is the job?", False)],
)
def test_a_question_tells_when_it_holds_a_keyword_as_a_word(prompt, told):
    assert told == tells(prompt, JOB)


def test_what_the_goal_itself_says_is_not_told():
    goal = Example(id="x", prompt="Is the red one red?", target="red")

    assert not tells("Please: is the red one red?", goal)


def test_letters_and_yes_are_no_secret():
    assert [] == answers_of(Example(id="x", prompt="?", target="Yes", tags={"keywords": "A\nno"}))


def test_rewordings_keep_target_tags_and_picture_and_drop_repetitions_and_choices():
    ways = [("own", JOB.prompt), ("one", "Job?"), ("twice", " job? "), ("leak", "Baker?"), ("two", "Work?")]

    trials = list(rewordings([NAME, JOB], lambda goal: ways if goal is JOB else []))

    assert [("one", "Job?", 1), ("two", "Work?", 1)] == [(t.origin, t.candidate.prompt, t.goal) for t in trials]
    assert all(t.candidate.target == JOB.target and t.candidate.tags == JOB.tags for t in trials)
    assert all(t.candidate.image == PICTURE and t.candidate.choices == () for t in trials)
    assert trials[0].promise > trials[1].promise


def test_without_the_picture_the_own_question_is_a_candidate():
    (trial,) = rewordings([JOB], lambda goal: [("bare", goal.prompt)], picture=False)

    assert trial.candidate.image is None and trial.candidate.prompt == JOB.prompt


def test_a_name_comes_from_a_tag_an_identity_or_a_sibling_that_asks_for_it():
    assert "Bo" == name_of(Example(id="x", tags={"names": "Bo\nBob"}))
    assert "Ann Lee" == name_of(Example(id="x", tags={"identity": "Ann Lee"}))
    assert "Ann Lee" == name_of(JOB, [JOB, NAME])
    assert "" == name_of(NAME, [JOB, NAME])
    assert "" == name_of(JOB, [JOB])


def test_siblings_share_the_subject_and_not_the_answer():
    same = Example(id="again", prompt="Work?", target=JOB.target, tags={"identity": "7"})
    other = Example(id="other", prompt="Work?", target="x", tags={"identity": "8"})

    assert [NAME] == siblings(JOB, [JOB, NAME, same, other])


def test_pictures_are_stored_without_loss():
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)

    np.testing.assert_array_equal(picture, np.asarray(stored(picture).open()))
