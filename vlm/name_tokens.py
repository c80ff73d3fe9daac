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


def spans(ids: Sequence[int], decode: Decode) -> list[tuple[int, int]]:
    """Where each token stands in `decode(ids)`: (start, end) in characters."""
    found, before = [], ""
    for end in range(1, len(ids) + 1):
        text = decode(ids[:end])
        # A character that is not complete yet decodes to a replacement mark and belongs to the tokens that follow too.
        found.append((min(len(before.rstrip("\ufffd")), len(text)), len(text)))
        before = text
    return found


def inside(ids: Sequence[int], phrase: str, decode: Decode) -> list[bool] | None:
    """For each token whether it overlaps an occurrence of `phrase` (whatever the case); None when there is none."""
    text = decode(ids)
    places = [match.span() for match in re.finditer(re.escape(phrase), text, re.IGNORECASE)] if phrase else []
    if not places:
        return None
    return [any(start < b and a < end for a, b in places) for start, end in spans(ids, decode)]
