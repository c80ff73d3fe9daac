"""Forget-Me-Not: pictures of the concept stop attending to the concept's words."""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor

from mmunlearn.data import Example, Split
from mmunlearn.errors import UserError
from mmunlearn.handle import Batch
from mmunlearn.methods.base import GradientMethod, Need, Optimiser, Phase, Step, Term

from ..conditioning import Condition
from ..handle import DiffusionHandle
from ..learnt_words import Inversion, learn_words
from ..prompt_tokens import encoded
from ._prompts import phrase_of
from ._trained import Role, trained_names
from ._words_at import end_of, words_at


class ForgetMeNot(GradientMethod):
    """Minimise the attention that noised pictures of the concept pay to the positions of its words, over all
    cross-attention layers: the 2-norm of the probabilities of each picture, all layers and heads joined.

    Sources: Zhang et al. 2023 (arXiv 2303.17591, attention re-steering, equation 3); diffusion sheet 4.4 (SHI-Labs/
    Forget-Me-Not: 35 steps, AdamW 2e-6, batch 1; UnlearnCanvas: 100 steps, 2e-5, cross-attention for styles, the whole
    U-Net for objects). Differs from the paper: `loss: squares` is the paper's sum of squared maps, averaged over
    pictures; the default is the norm that the repository descends (no square, no mean), summed over pictures. There,
    batches above one mix the positions of one picture with the maps of another; here each picture has its own.
    `inversion` first learns words for the concept and re-steers attention at their places instead (`learnt_words`); the
    repository then asks "a photo of <words>", here the words stand in the pictures' own captions.
    """

    needs = frozenset({Need.FORGET, "concept"})
    paper = "Zhang et al. 2023 (Forget-Me-Not)"

    toy = {"batch_size": 8, "steps": 5, "trains": "xattn_kv", "optimiser": {"name": "sgd", "lr": 1.5}}

    class Config(GradientMethod.Config):
        """end: also the first end-of-text position. steps: of the optimiser. inversion: learn words for the concept
        first (None: its own words)."""

        trains: Role = "xattn"
        loss: Literal["norm", "squares"] = "norm"
        end: bool = False
        optimiser: Optimiser = Optimiser(name="adamw", lr=2e-6, weight_decay=1e-2)
        steps: int = Field(35, ge=1)
        batch_size: int = 1
        inversion: Inversion | None = None

    def prepare(self, handle: DiffusionHandle, data: Mapping[str, Split], run) -> None:  # type: ignore[override]
        """Positions of the concept's words in every caption."""
        self._names = trained_names(handle, self.config.trains)
        if not handle.cross_attention():
            raise UserError("method[forget_me_not]: this model has no cross-attention to a prompt.")
        phrase = phrase_of(data["concept"])
        self._positions: dict[str, list[int]] = {}
        self._encoded: dict[str, Condition] = {}  # of learnt words, by example
        if self.config.inversion is not None:
            self._learn(handle, data["forget"].examples, phrase, run.seed)
            return
        texts = list(dict.fromkeys(example.prompt or "" for example in data["forget"]))
        spans, captions = words_at(handle, texts, phrase), {}
        for text, span, end in zip(texts, spans, end_of(handle, texts), strict=True):
            captions[text] = [*range(span.start, span.stop), *([end] if self.config.end else [])]
        for example in data["forget"]:
            self._positions[example.id] = captions[example.prompt or ""]

    def _learn(self, handle: DiffusionHandle, examples: Sequence[Example], phrase: str, seed: int) -> None:
        """Captions with learnt words in the phrase's place, encoded: the text encoders are never trained here."""
        for name, coded in learn_words(handle, examples, phrase, self.config.inversion, seed).items():
            places = [*coded.at, *([len(coded.ids)] if self.config.end else [])]
            self._positions[name] = [1 + place for place in places]  # behind the start token
            self._encoded[name] = encoded(handle, [coded])

    def _condition(self, handle: DiffusionHandle, batch: Batch) -> Condition:
        if not self._encoded:
            return handle.condition(batch)
        first, *others = (self._encoded[name] for name in batch.ids)
        return first.cat(*others)

    def phases(self, handle, data: Mapping[str, Split], run) -> Sequence[Phase]:
        """One phase over the concept's pictures."""
        stream = self.stream(data["forget"])
        return [
            self.simple_phase(self._terms, {"forget": stream}, "forget", steps=self.config.steps, trainable=self._names)
        ]

    def _terms(self, handle: DiffusionHandle, batches: Mapping[str, Batch], step: Step) -> dict[str, Term]:
        batch = batches["forget"]
        clean, noise, t = handle.clean(batch), batch.tensors["noise"], batch.tensors["t"]
        with handle.recorded_attention() as maps:
            handle.predict(handle.noised(clean, noise, t), t, self._condition(handle, batch))
        length = next(iter(maps.values())).shape[-1]
        at = torch.zeros(len(batch), length, dtype=torch.bool, device=handle.device)
        for row, name in enumerate(batch.ids):
            at[row, self._positions[name]] = True
        squares = attention_squares(list(maps.values()), at)
        value = squares.sqrt() if self.config.loss == "norm" else squares
        return {"attention": Term(value.sum(), "forget.examples")}


def attention_squares(
    maps: Sequence[Float[Tensor, "batch head query token"]], at: Bool[Tensor, "batch token"]
) -> Float[Tensor, " batch"]:
    """Sum over layers, heads, queries and chosen tokens of squared probabilities, a picture."""
    chosen = at[:, None, None, :]
    return torch.stack([(m.float() * chosen).square().flatten(1).sum(1) for m in maps]).sum(0)
