"""Whether an answer says a word: as released (any substring), or as a word of its own."""

import re
from functools import lru_cache
from typing import Literal

import numpy as np

from mmunlearn.judges._words import lines, normal
from mmunlearn.records import Rows

Match = Literal["word", "substring"]
# Letters that join a word. Those of Chinese and Japanese do not: a Latin name stands between them without blanks.
_JOINED = r"[0-9a-z\u00c0-\u024f\u0400-\u04ff]"


@lru_cache(maxsize=4096)
def _pattern(phrase: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!{_JOINED}){re.escape(normal(phrase))}(?!{_JOINED})")


def says(text: str, phrase: str, match: Match) -> bool:
    """Whether `text` holds `phrase`: as words, whatever case and kind of quotes, or as a substring, whatever
    case."""
    if match == "substring":
        return phrase.lower() in text.lower()
    return bool(_pattern(phrase).search(normal(text)))


def says_any(text: str, phrases: str, match: Match) -> bool:
    """Whether `text` holds one of the phrases, given one a line."""
    return any(says(text, phrase, match) for phrase in lines(phrases))


def chosen(rows: Rows, kinds: tuple[str, ...]) -> Rows:
    """Rows whose tag `kind` is among `kinds`; all rows where there is no such tag or no kinds are given."""
    if not kinds or "tag.kind" not in rows:
        return rows
    return rows.take(np.flatnonzero([kind in kinds for kind in rows["tag.kind"]]))
