"""Which tokens make up a concept's name, and which tokens of an answer lie in a phrase."""

import re
from collections.abc import Callable, Iterable, Sequence

Encode = Callable[[str], Sequence[int]]
Decode = Callable[[Sequence[int]], str]


def spellings(name: str) -> list[str]:
    """A name as written, in lower, upper and title case, each with and without a leading blank."""
    cases = dict.fromkeys((name, name.lower(), name.upper(), name.title()))
    return [blank + case for case in cases for blank in ("", " ")]


def name_tokens(names: Iterable[str], encode: Encode, decode: Decode, *, reference: bool = False) -> frozenset[int]:
    """Ids of the sub-tokens of every spelling of `names`.

    Sub-tokens with fewer than two letters or digits (blanks, punctuation, the single letters into which an unusual case
    falls apart) are left out, unless a spelling has no others. reference: every sub-token of the first name as it is
    written, which is what the released trainer masks (one hard-coded string).
    """
    names = list(names)
    if reference:
        return frozenset(encode(names[0])) if names else frozenset()
    found: set[int] = set()
    for name in names:
        for spelling in spellings(name):
            ids = list(encode(spelling))
            telling = [i for i in ids if sum(c.isalnum() for c in decode([i])) >= 2]
            found.update(telling or (i for i in ids if any(c.isalnum() for c in decode([i]))))
    return frozenset(found)


def pieces(ids: Sequence[int], decode: Decode) -> list[str]:
    """The text of each token, so that they join to `decode(ids)`; a token that does not complete a character has none,
    the character belongs to the token that does."""
    found, before = [], ""
    for end in range(1, len(ids) + 1):
        text = decode(ids[:end])
        whole = text if end == len(ids) else text.rstrip("\ufffd")
        found.append(whole[len(before) :])
        before = whole if len(whole) > len(before) else before
    return found


def inside(parts: Sequence[str], phrases: Iterable[str]) -> list[bool]:
    """For each token's text whether it overlaps one of the phrases in the whole text, whatever the case."""
    text = "".join(parts)
    places = [m.span() for p in phrases if p for m in re.finditer(re.escape(p), text, re.IGNORECASE)]
    found, start = [], 0
    for part in parts:
        end = start + len(part)
        # A token without text of its own lies where the next one starts.
        found.append(any(start < b and a < max(end, start + 1) for a, b in places))
        start = end
    return found
