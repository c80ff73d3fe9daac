"""Which words of an answer carry what was asked: keywords for benchmarks whose files have none."""

import re

WORD = re.compile(r"\d+(?:[.,:]\d+)*|[^\W\d_]+(?:['’-][^\W\d_]+)*")
STEM = 4  # letters that two forms of a word share ("prefer", "prefers")
EMPTY = frozenset(
    {
        *("a", "an", "the", "he", "she", "it", "they", "his", "her", "their", "its", "him", "them", "this", "that"),
        *("these", "those", "is", "was", "are", "were", "be", "been", "has", "have", "had", "does", "did", "do", "of"),
        *("in", "on", "at", "as", "to", "for", "from", "by", "with", "and", "or", "not", "no", "there", "here"),
        *("years", "year", "old", "cm", "euro", "euros", "million"),
    }
)


def answer_words(question: str, answer: str) -> tuple[str, ...]:
    """Words of the answer with a digit, or with a capital where no sentence begins; where it has none, its words that
    neither stand in the question (by their first letters) nor say nothing by themselves; else all of them.

    >>> answer_words("When was he born?", "He was born on 12 July 1994.")
    ('12', 'July', '1994')
    >>> answer_words("Which foot does he prefer?", "He prefers his left foot.")
    ('left',)
    >>> answer_words("Is it so?", "Yes.")
    ('Yes',)
    """
    found = [(match.group(), _opens(answer, match.start())) for match in WORD.finditer(answer)]
    telling = [word for word, opens in found if any(c.isdigit() for c in word) or (word[0].isupper() and not opens)]
    if not telling:
        asked = {word.lower()[:STEM] for word in WORD.findall(question)}
        telling = [w for w, _ in found if w.lower() not in EMPTY and w.lower()[:STEM] not in asked]
    return tuple(dict.fromkeys(telling or [word for word, _ in found]))


def _opens(text: str, at: int) -> bool:
    """Whether a sentence begins there."""
    before = text[:at].rstrip()
    return not before or before[-1] in ".!?:"
