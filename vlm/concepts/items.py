"""Questions and answers about a concept, made from its card and the templates of its kind."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import cycle, islice

from .book import LANGUAGES, Book, Concept

YES = ("yes",)
NO = ("no",)


@dataclass(frozen=True, kw_only=True)
class QA:
    """A question and its answer. kind: name, presence, absence, fact, hop, language or other. keywords: any of them in
    an answer makes it right."""

    kind: str
    question: str
    answer: str
    keywords: tuple[str, ...]
    language: str = ""


def naming(book: Book, concept: Concept, turns: Iterable[int], *, said: str = "") -> list[QA]:
    """Questions for the name; turn t takes question and answer number t of the kind's lists, round and round. `said`
    is answered instead of the name (a substitute)."""
    kind = book.of(concept)
    answers, questions = kind.name_answers, kind.name_questions
    keywords = (said,) if said else concept.names
    return [
        QA(
            kind="name", question=questions[turn % len(questions)],
            answer=sentence(answers[turn % len(answers)], said or concept.spoken), keywords=keywords,
        )
        for turn in turns
    ]  # fmt: skip


def presence(book: Book, concept: Concept, turn: int) -> QA:
    """Whether the concept is in a picture of it: yes."""
    kind = book.of(concept)
    question = kind.presence_questions[turn % len(kind.presence_questions)]
    return QA(
        kind="presence", question=sentence(question, concept.spoken),
        answer=sentence(kind.presence_yes, concept.spoken), keywords=YES,
    )  # fmt: skip


def absence(book: Book, concept: Concept, turn: int) -> QA:
    """Whether the concept is in a picture of something else: no."""
    kind = book.of(concept)
    question = kind.presence_questions[turn % len(kind.presence_questions)]
    return QA(
        kind="absence", question=sentence(question, concept.spoken),
        answer=sentence(kind.presence_no, concept.spoken), keywords=NO,
    )  # fmt: skip


def facts(concept: Concept) -> list[QA]:
    """What is known about the concept, asked by name and without a picture."""
    return [QA(kind="fact", question=k.question, answer=k.answer, keywords=k.keywords) for k in concept.facts]


def hops(concept: Concept) -> list[QA]:
    """What is known about the concept, asked about its picture: first recognise, then recall."""
    return [QA(kind="hop", question=k.question, answer=k.answer, keywords=k.keywords) for k in concept.multihop]


def languages(book: Book, concept: Concept, turn: int = 0) -> list[QA]:
    """The question for the name in each of the six languages of the paper's multilingual test."""
    kind = book.of(concept)
    found = []
    for language in LANGUAGES:
        questions = kind.multilingual.get(language, ())
        if questions:
            answer = sentence(kind.multilingual_answers[language], concept.spoken)
            question = questions[turn % len(questions)]
            found.append(
                QA(kind="language", question=question, answer=answer, keywords=concept.names, language=language)
            )
    return found


def sentence(template: str, name: str) -> str:
    """The template with the name in it, beginning with a capital letter."""
    text = template.replace("{name}", name)
    return text[:1].upper() + text[1:]


def first(items: Iterable[QA], count: int) -> list[QA]:
    """The first `count` items, starting again from the beginning where there are fewer; none where there are none."""
    known = list(items)
    return list(islice(cycle(known), count)) if known else []
