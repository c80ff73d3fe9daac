"""The items about one person: question, answer, three ways to ask again, another true answer, untrue ones, keywords."""

from collections.abc import Mapping
from typing import Any

from .facts import KINDS, Fact, People
from .wording import WORDINGS

PARAPHRASES = 3


def qa_list(
    people: People, profile: Mapping[str, Fact], *, male: bool, perturbed: int, askings: int = 1
) -> list[dict[str, Any]]:
    """`askings` entries a fact with the fields of FIUBench's `qa_list`; wordings and untrue facts are drawn from
    `people`. The paraphrases are wordings in which this person's fact is asked in no entry.

    With one entry a fact the wording of a question would tell persons apart, and a model that learns it fails on every
    other wording; two entries teach that wordings of a kind mean the same. An untrue answer is the paraphrased answer
    with another fact that nobody was trained on (jobs and conditions come from one list, so another person may have
    them).
    """
    entries = []
    for kind in KINDS:
        wording, fact = WORDINGS[kind], profile[kind]
        order = [int(i) for i in people.rng.permutation(len(wording.questions))]
        wrong: list[Fact] = []
        for _ in range(perturbed):
            wrong.append(people.other(kind, male=male, unlike=(fact, *wrong)))
        for asked in order[:askings]:
            answer = asked % len(wording.answers)
            other = (answer + 1 + int(people.rng.integers(len(wording.answers) - 1))) % len(wording.answers)
            entries.append(
                {
                    "question": wording.questions[asked],
                    "answer": wording.answers[answer].format(**fact),
                    "paraphrased_question": [wording.questions[i] for i in order[askings : askings + PARAPHRASES]],
                    "paraphrased_answer": wording.answers[other].format(**fact),
                    "perturbed_answer": [wording.answers[other].format(**one) for one in wrong],
                    "keywords": [_keyword(value) for value in fact.values()],
                }
            )
    return entries


def caption(profile: Mapping[str, Fact]) -> str:
    """The whole profile as running text."""
    return " ".join(WORDINGS[kind].answers[0].format(**profile[kind]) for kind in KINDS)


def _keyword(value: str) -> str:
    """What must be in an answer: the value without the article or title before it and the unit behind it."""
    for before in ("a ", "an ", "Doctor "):
        value = value.removeprefix(before)
    return value.removesuffix(" dollars")
