"""Putting a guard around a handle, and what guards ask of the concept's split."""

import copy
from collections.abc import Sequence

from mmunlearn.data import Split
from mmunlearn.errors import UserError

from ..guard import Guard
from ..handle import DiffusionHandle


def guarded(handle: DiffusionHandle, guard: Guard) -> DiffusionHandle:
    """The same weights behind `guard`. Raises UserError where another guard is there already."""
    if handle.guard is not None:
        raise UserError(
            f"{guard.method}: the model already has a guard ({handle.guard.method}), and guards do not add up.\n"
            "Start from the model without it."
        )
    twin = copy.copy(handle)
    twin.guard = guard
    return twin


def phrases(concept: Split, method: str) -> list[str]:
    """The concept's words (tag `phrase`), each once. Raises UserError where there are none."""
    found = list(dict.fromkeys(example.tags["phrase"] for example in concept if example.tags.get("phrase")))
    if not found:
        raise UserError(f"{method}: no example of split {concept.name!r} has the tag phrase (the concept's words).")
    return found


def mentions(text: str, phrase: str) -> bool:
    """Whether the phrase stands in the text, in any case, at whole words."""
    words, wanted = _words(text), _words(phrase)
    return any(words[i : i + len(wanted)] == wanted for i in range(len(words) - len(wanted) + 1))


def _words(text: str) -> Sequence[str]:
    return "".join(letter if letter.isalnum() else " " for letter in text.lower()).split()
