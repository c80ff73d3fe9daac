"""Which words of an answer count."""

import pytest
from mmunlearn.vlm.answer_words import answer_words


@pytest.mark.parametrize(
    ("question", "answer", "expected"),
    [
        ("When was he born?", "He was born on 12 July 1994.", ("12", "July", "1994")),
        ("Which foot does he prefer?", "He prefers his left foot.", ("left",)),
        ("What position does he play?", "He plays as a striker.", ("striker",)),
        ("How old is he?", "He is 34 years old.", ("34",)),
        ("Is it so?", "Yes.", ("Yes",)),
        ("Who is it?", "It is O'Neil. Ask Jean-Luc.", ("O'Neil", "Jean-Luc")),
    ],
)
def test_words_that_carry_the_fact(question, answer, expected):
    assert answer_words(question, answer) == expected
