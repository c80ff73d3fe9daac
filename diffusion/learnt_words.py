"""Words learnt from pictures: token embeddings with which a model draws a concept that its own words may not name."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from mmunlearn.data import Example
from mmunlearn.errors import UserError
from mmunlearn.seeds import generator
from mmunlearn.settings import Settings

from .conditioning import first_place
from .handle import DiffusionHandle
from .prompt_batch import PromptBatch, errors, weights_fixed
from .prompt_tokens import FILLER, Coded, prompt_ids
from .schedule import STEPS

FAMILIES = ("sd", "sdxl")  # their cross-attention reads what CLIP reads, place by place


class Inversion(Settings):
    """Textual inversion. words: learnt ones, in the place of the concept's own. pull: share by which each step moves
    the vectors' lengths towards the vocabulary's mean length; None: 100 lr, at most 1."""

    steps: int = Field(500, ge=1)
    words: int = Field(4, ge=1)
    lr: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.1, ge=0)
    batch_size: int = Field(1, ge=1)
    pull: float | None = Field(None, ge=0, le=1)


def learn_words(
    handle: DiffusionHandle, examples: Sequence[Example], phrase: str, how: Inversion, seed: int
) -> dict[str, Coded]:
    """Captions by example id, with learnt embeddings where `phrase` stood: those that minimise
    E ||target - model(z_t, t, caption)||² over the pictures, by AdamW; the model's weights stay as they are.

    The first words start at the phrase's own embeddings, the others at standard normal draws; after each step the
    vectors' lengths are pulled towards the vocabulary's mean length. Sources: Gal et al. 2023 (arXiv 2208.01618,
    equation 2); SHI-Labs/Forget-Me-Not src/train_ti.py and configs/ti.yaml (500 steps, 1e-3, decay .1, four words, two
    of them drawn; there the length is 0.4, about the mean of CLIP ViT-L/14's vocabulary, and the captions are fixed
    sentences). Raises UserError for a caption without the phrase, a family whose cross-attention does not read CLIP's
    words, and an example without a picture.
    """
    if handle.family.name not in FAMILIES:
        raise UserError(
            f"inversion: words can be learnt for {', '.join(FAMILIES)} alone; this model is {handle.family.name}."
        )
    captions = [_replaced(handle, example, phrase, how.words) for example in examples]
    batch, clean = PromptBatch(handle, captions), handle.collate(list(examples)).tensors["mean"].to(handle.device)
    words = _start(handle, batch.table, phrase, how.words, seed)
    length = batch.table.norm(dim=-1).mean()
    pull = min(1.0, 100 * how.lr) if how.pull is None else how.pull
    optimiser = torch.optim.AdamW([words], lr=how.lr, weight_decay=how.weight_decay)
    with weights_fixed(handle):
        for step in range(how.steps):
            draw = generator(seed, "inversion", step)
            rows = [int(i) for i in draw.choice(len(captions), size=min(how.batch_size, len(captions)), replace=False)]
            noise = torch.from_numpy(draw.standard_normal((len(rows), *clean.shape[1:]), dtype=np.float32)).to(clean)
            t = torch.from_numpy(draw.integers(STEPS, size=len(rows))).to(clean.device)
            z = clean[rows]
            condition = batch.index(rows).condition(words.expand(len(rows), -1, -1))
            made = handle.predict(handle.noised(z, noise, t), t, condition)
            loss = errors(made, handle.target(z, noise, t), "l2").mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            with torch.no_grad():
                norm = words.norm(dim=-1, keepdim=True)
                words.copy_(functional.normalize(words, dim=-1) * (norm + pull * (length - norm)))
    found = tuple(part.detach().float().cpu().numpy() for part in words[0].split(batch.widths, -1))
    return {example.id: replace(coded, vectors=found) for example, coded in zip(examples, captions, strict=True)}


def _replaced(handle: DiffusionHandle, example: Example, phrase: str, words: int) -> Coded:
    """The example's caption with fillers in the phrase's place."""
    ids = prompt_ids(handle, example.prompt or "")
    span = first_place(ids, prompt_ids(handle, phrase))
    if span is None:
        raise UserError(f"{example.id}: the phrase {phrase!r} does not stand in its caption {example.prompt!r}.")
    ids[span] = [FILLER] * words
    return Coded(tuple(ids), example.prompt or "", tuple(range(span.start, span.start + words)))


def _start(handle: DiffusionHandle, table: Tensor, phrase: str, words: int, seed: int) -> Float[Tensor, "1 word width"]:
    own = table[prompt_ids(handle, phrase)[:words]]
    drawn = generator(seed, "inversion", "start").standard_normal((words - len(own), table.shape[1]), dtype=np.float32)
    return torch.cat([own, torch.from_numpy(drawn).to(own)])[None].clone().requires_grad_(True)
