"""Text as rules read it: normalised characters, words, phrases at word boundaries."""

import re
import unicodedata
from functools import lru_cache

WORD = re.compile(r"\w+(?:['’]\w+)*", re.UNICODE)
QUOTES = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "\u00a0": " "})


def normal(text: str) -> str:
    """Case-folded text with plain quotes, composed characters and single blanks."""
    return " ".join(unicodedata.normalize("NFKC", text).translate(QUOTES).casefold().split())


def words(text: str) -> list[str]:
    """Words of the normalised text, punctuation left out."""
    return WORD.findall(normal(text))


@lru_cache(maxsize=4096)
def phrase_pattern(phrase: str) -> re.Pattern[str]:
    """Pattern that finds the normalised phrase as whole words in normalised text."""
    return re.compile(rf"(?<!\w){re.escape(normal(phrase))}(?!\w)")


def lines(text: str) -> list[str]:
    """Non-empty lines: how tags hold lists."""
    return [line.strip() for line in text.split("\n") if line.strip()]
