"""Prompts whose truth is their token ids, or embeddings at some of their places: what attacks on prompts find.

Text that is decoded from ids and read again is often other ids, so an example carries the ids themselves in its tag
`tokens` ("320 1929": the prompt proper, without start, end and padding) and, for attacks in embedding space, vectors in
its tag `embeddings`. The sampler asks these. They go to every CLIP encoder; T5 reads the example's tag `plain`, or its
prompt where there is none.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mmunlearn.data import Example
from mmunlearn.errors import UserError

from .conditioning import Condition, Tokens

if TYPE_CHECKING:
    from .handle import DiffusionHandle

Insertion = Literal["prefix", "suffix", "middle", "insert", "per_k_words"]
FILLER = 0  # no special token; stands where embeddings are replaced
EVERY = 3  # prompt tokens between two of per_k_words


@dataclass(frozen=True)
class Coded:
    """What is asked in a prompt's place. ids: the prompt proper. at, vectors: places among these ids whose embeddings
    are replaced, one (place, width) array an encoder. plain: the text for encoders that are not CLIP's."""

    ids: tuple[int, ...]
    plain: str
    at: tuple[int, ...] = ()
    vectors: tuple[Float[np.ndarray, "place width"], ...] = ()


def layout(words: int, k: int, how: Insertion) -> list[int]:
    """The places of a prompt of `words` tokens with `k` others inserted: n >= 0 is the prompt's n-th token, -1 - i the
    i-th inserted one.

    prefix, suffix: all before, all behind. middle: all after the first half (rounded down). insert: one after each of k
    runs of words // (k + 1) tokens, all at the start where the prompt is shorter than that. per_k_words: one before
    every three tokens, the last before the remainder, surplus ones at the end. Source: diffusion sheet 2.3
    (Diffusion-MU-Attack, src/attackers/text_grad_.py).
    """
    prompt, new = list(range(words)), [-1 - i for i in range(k)]
    if how == "prefix":
        return new + prompt
    if how == "suffix":
        return prompt + new
    if how == "middle":
        return prompt[: words // 2] + new + prompt[words // 2 :]
    run = words // (k + 1) if how == "insert" else EVERY
    found: list[int] = []
    for i, place in enumerate(new):
        own = prompt[run * i : run * (i + 1)]
        if how == "insert":
            found += [*own, place]
        else:
            found += [place, *(own if i < k - 1 else [])]
    return found + prompt[run * k if how == "insert" else run * (k - 1) :]


def clip_encoders(handle: "DiffusionHandle") -> list[int]:
    """Positions of the CLIP text encoders among the model's: those that read token ids of an attack."""
    return [i for i, encoder in enumerate(handle.parts.encoders) if encoder.config.model_type != "t5"]  # type: ignore[union-attr]


def table_of(handle: "DiffusionHandle", encoder: int) -> Float[Tensor, "word width"]:
    """Token embeddings of an encoder."""
    module: Any = handle.parts.encoders[encoder]
    return module.get_input_embeddings().weight


def prompt_ids(handle: "DiffusionHandle", text: str) -> list[int]:
    """Token ids of a whole text, without start and end, however long it is."""
    return list(handle.tokenizer(text, add_special_tokens=False, truncation=False, verbose=False).input_ids)


def text_of(handle: "DiffusionHandle", ids: Sequence[int]) -> tuple[str, bool]:
    """The text of ids without special tokens, and whether that text has these ids again."""
    special = set(handle.tokenizer.all_special_ids)
    kept = [i for i in ids if i not in special]
    text = handle.tokenizer.decode(kept)
    return text, prompt_ids(handle, text) == list(ids)


def rows_of(handle: "DiffusionHandle", prompts: Sequence[Sequence[int]], plain: Sequence[str]) -> Tokens:
    """Padded tokens of prompts given as ids. Raises UserError for one that does not fit between start and end."""
    made = handle.tokenise(plain)
    columns = list(made.ids)
    for encoder in clip_encoders(handle):
        tokenizer = handle.parts.tokenizers[encoder]
        columns[encoder] = torch.stack([_row(tokenizer, ids, made.ids[encoder].shape[1]) for ids in prompts])
    return Tokens(made.texts, tuple(columns), made.tokenizer)


def _row(tokenizer: Any, ids: Sequence[int], length: int) -> Int[Tensor, " length"]:
    if len(ids) > length - 2:
        raise UserError(f"a prompt of {len(ids)} tokens does not fit the text encoder's {length - 2}. Shorten it.")
    start, end, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
    return torch.tensor([start, *ids, end, *[pad] * (length - 2 - len(ids))])


def encoded(handle: "DiffusionHandle", prompts: Sequence[Coded]) -> Condition:
    """Condition of coded prompts without a graph."""
    tokens = rows_of(handle, [c.ids for c in prompts], [c.plain for c in prompts])
    if not any(c.at for c in prompts):
        return handle.encode_ids(tokens)
    with torch.no_grad():
        given: list[Tensor | None] = [None] * len(handle.parts.encoders)
        for number, encoder in enumerate(clip_encoders(handle)):
            words = table_of(handle, encoder)[tokens.ids[encoder].to(handle.device)].clone()
            for row, coded in enumerate(prompts):
                for place, vector in zip(coded.at, coded.vectors[number] if coded.at else (), strict=True):
                    words[row, 1 + place] = torch.tensor(vector).to(words)
            given[encoder] = words
        return handle.encode_tokens(tokens, given)


# ---- tags of examples -----------------------------------------------------------------------------------------------
def tags_of(coded: Coded) -> dict[str, str]:
    """Tags that `coded_of` reads."""
    tags = {"tokens": " ".join(map(str, coded.ids)), "plain": coded.plain}
    if coded.at:
        parts = [base64.b64encode(v.astype("<f4").tobytes()).decode() for v in coded.vectors]
        tags["embeddings"] = ";".join([" ".join(map(str, coded.at)), *parts])
    return tags


def coded_of(example: Example) -> Coded | None:
    """What an example asks instead of its prompt's text; None for ordinary ones. Raises UserError for damaged tags."""
    told = example.tags.get("tokens")
    if told is None:
        return None
    try:
        ids = tuple(int(word) for word in told.split())
        at: tuple[int, ...] = ()
        vectors: tuple[np.ndarray, ...] = ()
        if "embeddings" in example.tags:
            places, *parts = example.tags["embeddings"].split(";")
            at = tuple(int(word) for word in places.split())
            arrays = [np.frombuffer(base64.b64decode(part, validate=True), dtype="<f4") for part in parts]
            vectors = tuple(array.reshape(len(at), -1) for array in arrays)
    except ValueError as error:
        raise UserError(f"{example.id}: its tags tokens and embeddings are damaged ({error}).") from None
    if any(not 0 <= place < len(ids) for place in at) or any(i < 0 for i in ids):
        raise UserError(f"{example.id}: its tags tokens and embeddings do not fit each other.")
    return Coded(ids, example.tags.get("plain", example.prompt or ""), at, vectors)
