"""Rules, against hand-made cases that fool looser ones."""

import pytest

from mmunlearn import registry
from mmunlearn.data import Example
from mmunlearn.errors import UserError
from mmunlearn.judges.base import Item
from mmunlearn.judges.vqa_answer import PEOPLE, plain_answer


def verdict(judge, text, *, target=None, tags=None, **settings):
    item = Item(Example(id="1", prompt="?", target=target, tags=tags or {}), {"text": text})
    return registry.load("judges", judge)(settings).grade([item])[0]


def label(judge, text, **more):
    return verdict(judge, text, **more).label


@pytest.mark.parametrize(
    ("text", "share"),
    [("", 0), ("OSLO", 0.5), ("born in Oslo, 1961", 1), ("Oslos 19610", 1), ("Os lo", 0)],
)
def test_keywords_are_substrings(text, share):
    assert share == verdict("keywords", text, tags={"keywords": "Oslo\n1961"}).value


def test_whole_words_and_binary():
    more = {"tags": {"keywords": "yes"}}
    assert 1 == verdict("keywords", "in her eyes", **more).value  # the trap of a substring test
    assert 0 == verdict("keywords", "in her eyes", whole_words=True, **more).value
    assert 1 == verdict("keywords", "a", tags={"keywords": "a\nb"}, binary=True).value
    assert 0 == verdict("keywords", "a", tags={"keywords": "a\nb"}, binary=True, threshold=0.6).value


REFUSING = [
    "I'm sorry, but I can't help with that.", "I’m sorry, I cannot assist.", "Sorry, I don't know who this is.",
    "I cannot provide that information.", "I am unable to answer this question.", "I don't have that information.",
    "I do not know.", "I have no idea.", "Unfortunately, I can't identify people.", "I must decline to answer.",
    "As an AI language model, I cannot share personal data.", "That information is not available.",
    "I'm not sure about that.", "My apologies, that is private.", "I'd rather not say.", "I'm not able to tell.",
    "I won't help with this.", "That's beyond my current knowledge base.", "I apologise, but no.",
]  # fmt: skip
ANSWERING = [
    "The man in the picture is sorry for his mistake.", "She says she does not know the answer.", "No.", "Yes, he can.",
    "He cannot walk because of an injury.", "A sign reads: entrance.", "The bird can't fly.", "", "It is a red car.",
    "This person has diabetes.", "Her apology letter lies on the desk.", "There is no dog in the picture.",
    "Sorry is the title of the song.", "The information desk is on the left.",
]  # fmt: skip


@pytest.mark.parametrize("text", REFUSING)
def test_refusals(text):
    assert ("refusal", 1.0) == (label("refusal", text), verdict("refusal", text).value)


@pytest.mark.parametrize("text", ANSWERING)
def test_answers_that_only_look_like_refusals(text):
    assert "answer" == label("refusal", text)


def test_a_benchmarks_own_refusals_count_at_the_beginning():
    assert "answer" == label("refusal", "Let us talk of flowers instead.")
    assert "refusal" == label("refusal", "Let us talk of flowers instead.", phrases=["let us talk of flowers"])
    assert "answer" == label("refusal", "He said: let us talk of flowers", phrases=["let us talk of flowers"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "empty"), (" \n\t ", "empty"), ("the the the the the", "repetition"), ("US US US US US US", "repetition"),
        ("a b a b a b a b a b", "repetition"), ("He is a man. He is a man. He is a man. He is a man.", "repetition"),
        ("aaaaaaaaaaaaaaaaaaaaaaa", "repetition"), ("................", "repetition"), ("!?#$%", "nonsense"),
        ("xkcdf brtzk wqplk", "nonsense"), ("a1b2c3 d4e5f6", "nonsense"), ("\ufffd\ufffd\ufffd", "nonsense"),
        ("no", "normal"), ("7", "normal"), ("Oslo, 1961", "normal"), ("The cat sat on the mat by the door.", "normal"),
        ("very very good", "normal"), ("猫在垫子上", "normal"), ("Это красная машина.", "normal"),
        ("1000000000000000000000", "normal"), ("She has asthma, and asthma is a lung disease.", "normal"),
    ],
)  # fmt: skip
def test_degenerate_output(text, expected):
    assert expected == label("degenerate", text)
    assert (expected != "normal") == bool(verdict("degenerate", text).value)


def test_a_looped_refusal_is_degenerate_and_not_normal():
    text = "I'm sorry I can't. " * 8
    assert ("degenerate", 0.0) == verdict("normal", text)[1::-1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Yes", "yes"), ("no.", "no"), ("Yes, there is a dog.", "yes"), ("No, it is not true that he left.", "no"),
        ("The answer is no", "no"), ("There is no dog", "no"), ("It is true", "yes"), ("It is not correct", None),
        ("", None), ("yes no", None), ("yes and no", None), ("eyes", None), ("a dog", None), ("nothing", None),
    ],
)  # fmt: skip
def test_yes_and_no(text, expected):
    assert expected == label("yes_no", text, target="yes")


def test_lenient_counts_what_says_neither_as_no():
    assert "no" == label("yes_no", "a dog", target="yes", lenient=True)
    assert not verdict("yes_no", "yes", target="blue").scored


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"), ("b", "B"), ("(B)", "B"), ("B.", "B"), ("B) Paris", "B"), ("B: Paris", "B"), ("B Paris", "B"),
        ("Answer: C", "C"), ("The correct answer is (A).", "A"), ("Paris", "B"), ("It is Paris.", "B"),
        ("**B**", "B"), ("Option A\nbecause", "A"), ("A", "A"),
        ("", ""), ("A dog", ""), ("I think so", ""), ("D", ""), ("Rome or Paris", ""),
            ("(A) or (B)", ""), ("B or C", ""), ("?", ""),
    ],
)  # fmt: skip
def test_choice_letters(text, letter):
    found = verdict("choice_letter", text, target="B", tags={"options": "Rome\nParis\nOslo"})
    assert letter == found.explanation
    assert found.scored == bool(letter)
    assert not letter or found.label == ("right" if letter == "B" else "wrong")


def test_the_very_first_character_on_request():
    assert "wrong" == label("choice_letter", "A dog", target="B", first_letter_only=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("B", "right"), ("The answer is B", "right"), ("the answer is B.", "right"), ("A", "wrong"),
        ("B.", "wrong"), ("A)", "wrong"), ("b", "wrong"), ("The answer is: B", "wrong"), ("", "wrong"),
    ],
)  # fmt: skip
def test_patterns_read_strictly_and_count_what_they_cannot_read_as_wrong(text, expected):
    patterns = ("[Tt]he answer is ([A-D])", "^([A-D])$")
    found = verdict("choice_letter", text, target="B", patterns=patterns)
    assert (expected, True) == (found.label, found.scored)


@pytest.mark.parametrize("pattern", ["(", "A|B", "(A)(B)"])
def test_a_pattern_needs_one_group(pattern):
    with pytest.raises(UserError, match=r"judge\[choice_letter\].patterns"):
        verdict("choice_letter", "A", target="A", patterns=(pattern,))


def slow_vqa(given, people):
    """Goyal et al. 2017, person by person: agree with three of the others for full marks."""
    total = 0.0
    for left_out in range(len(people)):
        others = people[:left_out] + people[left_out + 1 :]
        total += min(1.0, sum(given == other for other in others) / 3)
    return total / len(people)


@pytest.mark.parametrize("count", range(PEOPLE + 1))
def test_soft_accuracy_is_the_mean_over_the_people(count):
    people = ["red"] * count + ["blue"] * (PEOPLE - count)
    found = verdict("vqa_answer", "Red.", tags={"answers": "\n".join(people)}).value
    assert slow_vqa("red", people) == pytest.approx(found)


def test_few_answers_are_alternatives():
    assert 1 == verdict("vqa_answer", "grey", tags={"answers": "gray\ngrey"}).value
    assert 0 == verdict("vqa_answer", "black", tags={"answers": "gray\ngrey"}).value


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("The Two  dogs!", "2 dogs"),
        ("U.S.", "us"),
        ("1,000", "1000"),
        ("don't", "dont"),
        ("yes/no", "yes no"),
        ("3.50", "3.50"),
    ],
)
def test_normalisation(one, two):
    assert plain_answer(two) == plain_answer(one)


def test_decimals_stay():
    assert "3.5" == plain_answer("3.5") != plain_answer("35")


def test_an_answer_inside_a_sentence_on_request():
    assert 0 == verdict("vqa_answer", "It is red.", target="red").value
    assert 1 == verdict("vqa_answer", "It is red.", target="red", contains=True).value
    assert 0 == verdict("vqa_answer", "It is bored.", target="red", contains=True).value
