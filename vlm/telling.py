"""The place in an answer where it tells something: its telling word."""

import re
from typing import TYPE_CHECKING, NamedTuple

from mmunlearn.data import Example
from mmunlearn.judges._words import lines

from .answer_words import answer_words

if TYPE_CHECKING:
    from .handle import VlmHandle


class Telling(NamedTuple):
    """Token ids of question and answer up to the end of the telling word, and where that word begins."""

    ids: tuple[int, ...]
    place: int


def telling_word(handle: "VlmHandle", goal: Example) -> Telling:
    """The earliest of the goal's keywords in the answer that the question does not say; without such, the first of
    `answer_words`; without these, the whole answer."""
    ids, start = handle.tokens(goal)

    def said(end: int) -> str:
        return str(handle.tokenizer.decode(list(ids[start:end]), skip_special_tokens=True))

    first, last = _where(said(len(ids)), goal)
    ends = range(start + 1, len(ids) + 1)
    # The token that carries the text past the word's beginning; a blank before the word belongs to it.
    place = next((end - 1 for end in ends if len(said(end).rstrip()) > first), start)
    stop = next((end for end in ends if len(said(end)) >= last), len(ids))
    return Telling(tuple(ids[: max(stop, place + 1)]), place)


def _where(said: str, goal: Example) -> tuple[int, int]:
    """First character and end of the telling word; all of the answer where none is found."""
    question, text = (goal.prompt or "").lower(), said.lower()
    words = [word for word in lines(goal.tags.get("keywords", "")) if word.lower() not in question]
    patterns = [rf"(?<!\w){re.escape(word.lower())}(?!\w)" for word in words or answer_words(goal.prompt or "", said)]
    found = [match.span() for pattern in patterns if (match := re.search(pattern, text)) is not None]
    return min(found, default=(0, len(said)))
