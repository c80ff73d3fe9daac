"""The four fine-tuning targets of SIU for any concept, built from its card by rule (MMUBench paper 4.1 and A.1-A.3)."""

from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Protocol

from pydantic import Field

from mmunlearn.data import Example, ImageRef
from mmunlearn.errors import UserError
from mmunlearn.settings import Settings

from .concepts import items
from .concepts.book import Book, Concept
from .concepts.items import QA

PARTS = ("T1", "T2", "T3", "T4")


class Completer(Protocol):
    """A text model that can rephrase: an OpenAI-compatible client, a local model, or a test's own."""

    def complete(self, prompt: str) -> str:
        """The model's reply to `prompt`."""
        ...


class Counts(Settings):
    """Items a target. The defaults are those of the released file (25 items): 9, 2, 7, 7."""

    T1: int = Field(9, ge=0)
    T2: int = Field(2, ge=0)
    T3: int = Field(7, ge=0)
    T4: int = Field(7, ge=0)


def siu_items(
    book: Book,
    concept: Concept,
    image: ImageRef,
    others: Sequence[Concept],
    counts: Counts | None = None,
    rephrase: Completer | None = None,
) -> list[Example]:
    """The items that make a model forget the look of `concept` from one `image`.

    T1: the name asked about the image, a substitute answered; `phrase` is the substitute. T2: whether the concept is in
    the image, "no" (every second time with an invented appearance); `phrase` is the whole answer. T3, without an image:
    a question about the concept, its true fact. T4, without an image: the same about `others` in turn; both keep
    `phrase` empty. Facts that are fewer than the count are asked again. Tags: part, phrase, names (of the concept, one
    a line), concept. rephrase: a text model that words the questions of T1 to T4 anew; a reply that is empty or loses
    a name leaves the question as it was.

    Raises UserError when a count needs a fact and no card holds one.
    """
    counts = counts or Counts()
    substitute = book.substitute(concept)
    t1 = [(qa, substitute) for qa in items.naming(book, concept, range(counts.T1), said=substitute)]
    t2 = [(qa, qa.answer) for qa in _denials(book, concept, counts.T2)]
    t3 = [(qa, "") for qa in _known(counts.T3, items.facts(concept), f"concept {concept.name!r}", book)]
    about_others = _in_turn(items.facts(other) for other in others if other.slug != concept.slug)
    t4 = [(qa, "") for qa in _known(counts.T4, about_others, "the other concepts", book)]
    names = "\n".join(concept.names)
    made = []
    keep = [*concept.names, *(other.name for other in others)]
    for part, group in zip(PARTS, (t1, t2, t3, t4), strict=True):
        shown = image if part in ("T1", "T2") else None
        for number, (qa, phrase) in enumerate(group):
            question = qa.question if rephrase is None else rephrased(qa.question, keep, rephrase)
            made.append(
                Example(
                    id=f"mmubench/siu/{concept.slug}/{part}/{number:02d}", image=shown, prompt=question,
                    target=qa.answer,
                    tags={"part": part, "phrase": phrase, "names": names, "concept": concept.slug, "kind": qa.kind},
                )
            )  # fmt: skip
    return made


def rephrased(question: str, keep: Iterable[str], model: Completer) -> str:
    """The question in other words; every name of `keep` that it holds must stand in the reply too, else the question
    stays. Only the first line of the reply is taken."""
    reply = model.complete(
        f"Rephrase the question. Keep every name. Answer with the new question alone.\nQuestion: {question}"
    )
    lines = [line.strip().strip('"') for line in reply.splitlines() if line.strip()]
    if not lines:
        return question
    held = [name.lower() for name in keep if name.lower() in question.lower()]
    return lines[0] if all(name in lines[0].lower() for name in held) else question


def _denials(book: Book, concept: Concept, count: int) -> list[QA]:
    kind = book.of(concept)
    found = []
    for number in range(count):
        qa = items.absence(book, concept, number)
        if number % 2:
            answer = items.sentence(kind.invented, concept.spoken).replace("{appearance}", book.appearance(concept))
            qa = QA(kind=qa.kind, question=qa.question, answer=answer, keywords=qa.keywords)
        found.append(qa)
    return found


def _known(count: int, known: list[QA], whose: str, book: Book) -> list[QA]:
    if count and not known:
        raise UserError(f"{book.path}: no fact about {whose}, and SIU's text targets need one. Add one under facts.")
    return items.first(known, count)


def _in_turn(groups: Iterable[list[QA]]) -> list[QA]:
    """One of each group, then the next of each."""
    return [qa for turn in zip_longest(*groups) for qa in turn if qa is not None]
