"""Where a phrase stands among the rows of an encoded prompt, which attention maps have for columns."""

from collections.abc import Sequence

from mmunlearn.errors import UserError

from ..conditioning import first_place
from ..handle import DiffusionHandle

# The text encoder whose tokens come first in `Condition.states`; FLUX's CLIP gives the pooled prompt only.
FIRST = {"flux": 1}


def words_at(handle: DiffusionHandle, texts: Sequence[str], phrase: str) -> list[slice]:
    """Rows of `phrase` in each encoded prompt (its first occurrence). Raises UserError where a prompt lacks it."""
    tokens, place = handle.tokenise(texts), FIRST.get(handle.family.name, 0)
    if place == 0:
        return tokens.subject_span(phrase)
    wanted = handle.parts.tokenizers[place](phrase, add_special_tokens=False).input_ids
    spans = []
    for text, row in zip(texts, tokens.ids[place].tolist(), strict=True):
        span = first_place(row, wanted)
        if span is None:
            raise UserError(f"the phrase {phrase!r} does not stand in the prompt {text!r} as the model reads it.")
        spans.append(span)
    return spans


def end_of(handle: DiffusionHandle, texts: Sequence[str]) -> list[int]:
    """Row of the first end-of-text token of each encoded prompt (the last row where the prompt was cut)."""
    tokens, place = handle.tokenise(texts), FIRST.get(handle.family.name, 0)
    end = handle.parts.tokenizers[place].eos_token_id
    return [row.index(end) if end in row else len(row) - 1 for row in tokens.ids[place].tolist()]
