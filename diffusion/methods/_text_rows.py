"""Rows of encoded prompts that closed-form edits map: the subject's last token, the tail from there, or all."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mmunlearn.data import Split
from mmunlearn.errors import UserError

from ..conditioning import first_place
from ..handle import DiffusionHandle

Scope = Literal["last", "aligned"]
ENCODED_AT_ONCE = 64

# Which text encoders' tokens stand behind each other in `Condition.states`, by family; SDXL's two share positions.
STREAMS = {"sd": (0,), "sdxl": (0,), "sd3": (0, 2), "flux": (1,)}

# UCE:trainscripts/uce_sd_erase.py, option expand_prompts.
FORMS = {
    "none": (),
    "style": ("painting by {}", "art by {}", "artwork by {}", "picture by {}", "style of {}"),
    "object": ("image of {}", "photo of {}", "portrait of {}", "picture of {}", "painting of {}"),
}


@dataclass(frozen=True)
class Pair:
    """A text that shall be read as another. subject and surrogate: the phrases meant in them ("": the whole text)."""

    text: str
    guide: str
    subject: str = ""
    surrogate: str = ""


def phrase_pairs(concept: Split, guide: str | None, expand: str) -> list[Pair]:
    """Each concept's bare phrase (tag `phrase`) and its `expand`ed forms beside the surrogate's (`guide`, where it is
    given). Raises UserError where the tags are missing."""
    pairs = []
    for example in concept:
        phrase, other = example.tags.get("phrase"), guide if guide is not None else example.tags.get("surrogate")
        if not phrase or other is None:
            raise UserError(f"{example.id}: lacks the tags phrase and surrogate. Set guide, or texts: prompts.")
        pairs += [Pair(form.format(phrase), form.format(other)) for form in ("{}", *FORMS[expand])]
    return list(dict.fromkeys(pairs))


def prompt_pairs(concept: Split, guide: str | None) -> list[Pair]:
    """Each of the concept's prompts beside its surrogate prompt (`guide`, where it is given)."""
    pairs = []
    for example in concept:
        if example.prompt is None or not (isinstance(example.target, str) or guide is not None):
            raise UserError(f"{example.id}: needs a prompt and a surrogate prompt as target.")
        other = guide if guide is not None else str(example.target)
        named = example.tags.get("surrogate", "") if guide is None else ""
        pairs.append(Pair(example.prompt, other, example.tags.get("phrase", ""), named))
    return list(dict.fromkeys(pairs))


def prompts(split: Split) -> list[str]:
    """The split's prompts, each once."""
    return list(dict.fromkeys(example.prompt for example in split if example.prompt is not None))


def names(anchor: Split, without: Sequence[str]) -> list[str]:
    """The styles and objects of the anchors' tags as prompts word them, each once, less `without`."""
    found = [e.tags.get("style_words") or e.tags.get("style", "").replace("_", " ") for e in anchor]
    found += [e.tags.get("object", "").replace("_", " ") for e in anchor]
    return [name for name in dict.fromkeys(found) if name and name not in without]


class TextRows:
    """Reads rows of encoded prompts. kind: "states" (a row a token) or "pooled" (one row a prompt)."""

    def __init__(self, handle: DiffusionHandle, kind: str = "states"):
        self.handle, self.kind = handle, kind

    def encoded(self, texts: Sequence[str]) -> Float[Tensor, "batch length width"]:
        """Encoded prompts; pooled ones have length one."""
        made = self.handle.encode(texts)
        if self.kind == "states":
            return made.states
        assert made.pooled is not None
        return made.pooled[:, None]

    def pair(self, pair: Pair, scope: Scope) -> tuple[Float[Tensor, "row width"], Float[Tensor, "row width"]]:
        """Rows of the text and of its guide, equally many: the last token of the subject, or everything from there,
        the longer tail cut."""
        text, guide = self.encoded([pair.text, pair.guide])
        left, right = self.tails(pair.text, pair.subject), self.tails(pair.guide, pair.surrogate)
        rows, onto = [], []
        for a, b in zip(left, right, strict=True):
            n = 1 if scope == "last" else min(a.stop - a.start, b.stop - b.start)
            rows.append(text[a.start : a.start + n])
            onto.append(guide[b.start : b.start + n])
        return torch.cat(rows), torch.cat(onto)

    def held(self, texts: Sequence[str], scope: Scope) -> Iterator[Float[Tensor, "row width"]]:
        """Rows of texts that shall stay, some prompts at a time: their last token, or all rows (scope aligned)."""
        for start in range(0, len(texts), ENCODED_AT_ONCE):
            part = texts[start : start + ENCODED_AT_ONCE]
            states = self.encoded(part)
            if scope == "aligned":
                yield states.flatten(0, 1)
            else:
                pairs = zip(states, part, strict=True)
                yield torch.stack([row[tail.start] for row, text in pairs for tail in self.tails(text)])

    def tails(self, text: str, subject: str = "") -> list[slice]:
        """From the last token of `subject` (of the whole text where it is "") to the end, one slice an encoder whose
        tokens stand behind each other. Raises UserError where the text lacks the subject."""
        if self.kind == "pooled":
            return [slice(0, 1)]
        tokens, found, offset = self.handle.tokenise([text]), [], 0
        for place, stream in enumerate(STREAMS[self.handle.family.name]):
            row = tokens.ids[stream][0].tolist()
            last = self._last(row, stream, subject)
            if last is None and place == 0 and stream == 0:
                raise UserError(f"the phrase {subject!r} does not stand in the prompt {text!r}.")
            if last is None:  # T5's shorter prompts may be cut before the phrase; their last token stands for it
                last = self._last(row, stream, "") or 0
            found.append(slice(offset + last, offset + len(row)))
            offset += len(row)
        return found

    def _last(self, row: list[int], stream: int, subject: str) -> int | None:
        tokenizer = self.handle.parts.tokenizers[stream]
        if not subject:
            return max(row.index(tokenizer.eos_token_id) - 1, 0) if tokenizer.eos_token_id in row else len(row) - 1
        place = first_place(row, tokenizer(subject, add_special_tokens=False).input_ids)
        return None if place is None else place.stop - 1
