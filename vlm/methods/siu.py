"""SIU: single-image unlearning by fine-tuning on four targets with a dual-masked divergence to the original."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from mmunlearn.data import Example, Split
from mmunlearn.errors import UserError
from mmunlearn.handle import Batch, Scored
from mmunlearn.losses import need_logits
from mmunlearn.methods._pairing import original
from mmunlearn.methods.base import GradientMethod, Need, Optimiser, Phase, Step, Term

from ..dual_masked_kl import dual_masked_kl, masked_cross_entropy, name_mass
from ..handle import VlmHandle
from ..name_tokens import inside, name_tokens, pieces


class Siu(GradientMethod):
    """Minimise `alpha·CE + beta·L_DMK` on the split `siu`, gradient descent throughout.

    L_DMK is the masked divergence to the original over answer positions (see dual_masked_kl), divided by the positions
    that the token mask leaves; CE is the mean over all answer tokens. The token mask drops the tokens of the example's
    tag `phrase` (the substitute name of T1, the denial of T2); the vocabulary mask drops the tokens of the names in its
    tag `names`. Source: Li et al. 2024 (MMUBench), 4.2, Appendix B and 6.1 (LoRA, Adam 3e-4, batch 4, 6 steps for one
    concept, 120 for twenty). Intent: removal of recognition; what is known in words is to stay.

    Differs from the paper: reduction by mean where the paper writes sums over positions (its code takes means).
    `form: released` is a diagnostic of the released trainer: both weights are taken as they are (its preset sets them
    to 1), the divergence is its cross term alone, divided by positions times vocabulary, so that it hardly counts. The
    released trainer's other faults (masks at the wrong positions of image items, prompt positions included) are not
    copied.
    """

    needs = frozenset({"siu", Need.REFERENCE, Need.LOGITS})
    paper = "Li et al. 2024, Single Image Unlearning (MMUBench)"

    # Plain descent, since Adam turns the rounding of a gradient that is zero (an attention key's bias) into steps.
    toy = {"epochs": 10, "batch_size": 12, "optimiser": {"name": "sgd", "lr": 0.1}}

    class Config(GradientMethod.Config):
        """alpha, beta: weights of CE and L_DMK. token_mask: positions dropped by `phrase`, or where the original gives
        the name at least `threshold`, or both, or none. vocabulary_mask: leave the name's words out of the divergence.
        names: spellings whose tokens count as the name (reference: the first name's sub-tokens as written). steps:
        optimiser steps, instead of epochs."""

        optimiser: Optimiser = Optimiser(name="adam", lr=3e-4)
        epochs: int = 1
        steps: int | None = Field(None, ge=1)
        batch_size: int = 4
        augment: bool = False
        alpha: float = 0.9
        beta: float = 0.75
        token_mask: Literal["phrase", "probability", "both", "none"] = "phrase"
        threshold: float = Field(0.9, gt=0, le=1)
        vocabulary_mask: bool = True
        names: Literal["spellings", "reference"] = "spellings"
        form: Literal["paper", "released"] = "paper"
        reference: Literal["auto", "cached", "adapters_off", "frozen_copy"] = "auto"

    def prepare(self, handle: VlmHandle, data: Mapping[str, Split], run) -> None:  # type: ignore[override]
        """Masks of every item, and the original's outputs for them."""
        split = data["siu"]
        decode = partial(handle.tokenizer.decode, clean_up_tokenization_spaces=False)
        self._kept = {example.id: self._positions(handle, example, decode) for example in split}
        self._names = {example.id: example.tags.get("names", "") for example in split}
        self._tokens: dict[str, frozenset[int]] = {}
        for names in dict.fromkeys(self._names.values()):
            self._tokens[names] = name_tokens(
                [name for name in names.split("\n") if name], partial(_encode, handle.tokenizer), decode,
                reference=self.config.names == "reference",
            )  # fmt: skip
        self._original = original(self, handle, split)

    def phases(self, handle, data: Mapping[str, Split], run) -> Sequence[Phase]:
        """One phase over the items."""
        options = {} if self.config.steps is None else {"steps": self.config.steps}
        return [self.simple_phase(self._terms, {"siu": self.stream(data["siu"])}, "siu", **options)]

    def _terms(self, handle, batches: Mapping[str, Batch], step: Step) -> dict[str, Term]:
        batch = batches["siu"]
        scored = handle.score(batch)
        student = need_logits(scored, self.name())
        # Cached records are padded to the widest batch that they came from.
        teacher = need_logits(self._original.score(batch), self.name())[:, : student.shape[1]]
        vocabulary = self._vocabulary(batch, student)
        tokens = self._mask(batch, scored, teacher)
        measure = dual_masked_kl if self.config.form == "paper" else masked_cross_entropy
        value = measure(teacher, student, tokens, vocabulary).sum()
        count = tokens.sum().to(value.dtype)
        if self.config.form == "released":
            count = count * student.shape[-1]
        return {
            "ce": Term(scored.nll.sum(), "siu", self.config.alpha),
            "dmk": Term(value, "", self.config.beta, count),
        }

    def _positions(self, handle: VlmHandle, example: Example, decode) -> list[bool]:
        """m_t of an item's supervised tokens by its phrase."""
        ids, start = handle.tokens(example)
        answer, phrase = list(ids[start:]), example.tags.get("phrase", "")
        if not phrase or self.config.token_mask not in ("phrase", "both"):
            return [True] * len(answer)
        dropped = inside(pieces(answer, decode), [phrase])
        if not any(dropped):
            raise UserError(f"{example.id}: its phrase {phrase!r} does not stand in its answer {example.target!r}.")
        return [not drop for drop in dropped]

    def _mask(self, batch: Batch, scored: Scored, teacher: Tensor) -> Tensor:
        assert scored.mask is not None
        mask = torch.zeros_like(scored.mask)
        for row, name in enumerate(batch.ids):
            kept = self._kept[name]
            mask[row, : len(kept)] = torch.tensor(kept, device=mask.device)
        mask &= scored.mask
        if self.config.token_mask in ("probability", "both"):
            mask &= name_mass(teacher, self._vocabulary(batch, teacher, always=True)) < self.config.threshold
        return mask

    def _vocabulary(self, batch: Batch, logits: Tensor, *, always: bool = False) -> Tensor:
        mask = torch.ones(len(batch), logits.shape[-1], dtype=torch.bool, device=logits.device)
        if self.config.vocabulary_mask or always:
            for row, name in enumerate(batch.ids):
                mask[row, sorted(self._tokens[self._names[name]])] = False
        return mask


def _encode(tokenizer, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False).input_ids
