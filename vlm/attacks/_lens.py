"""What the read-outs of UnLOK-VQA share: candidate sets of tokens from the logit lens over several layers."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from mmunlearn.attacks.base import Access, Metered
from mmunlearn.attacks.base_goals import GoalSettings, Reading, ReadoutAttack
from mmunlearn.data import Example
from mmunlearn.errors import UserError

from ..handle import VlmHandle
from ..logit_lens import chosen_layers, read, states
from ..single_edits import Edits


class LensSettings(GoalSettings):
    """layers: states that are read, 0 the embeddings (none: the last of the model, as many as the reference takes). k:
    tokens taken from each row's end. bottom: take the k smallest too. reference: the released code's arithmetic, the
    last state normed twice, 16-bit floats, ties with the k-th value count as hits, the answer tokenised without its
    blank."""

    layers: tuple[int, ...] = ()
    k: int = Field(4, ge=1)
    bottom: bool = False
    reference: bool = False


class LensReadout(ReadoutAttack):
    """Read candidates for the answer's first token out of the layers; a subclass makes its rows of the layers'
    probabilities. |C| is at most rows · k · (2 with the bottom), less where a token comes twice."""

    access = Access.WEIGHTS
    usual: ClassVar[int] = 5  # states read where no layers are named

    class Config(LensSettings):
        """Settings of LensSettings."""

    @abstractmethod
    def rows(self, p: Float[Tensor, "goal state vocab"]) -> Float[Tensor, "goal row vocab"]:
        """What is ranked."""

    def read(self, handle: Metered, goals: Sequence[Example], seed: int) -> list[list[Reading]]:
        """One forward pass for all layers of all goals."""
        inner: VlmHandle = handle.inner
        handle.spend([goal.id for goal in goals], queries=1)
        return self.readings(inner, goals, None)

    def readings(self, handle: VlmHandle, goals: Sequence[Example], extra: Edits | None) -> list[list[Reading]]:
        """Candidate sets of the goals, `extra` edits on top of those that the handle carries."""
        found = states(handle, goals, batch_size=self.config.together, extra=extra)
        layers = chosen_layers(self.config.layers, found.shape[1], self.usual)
        reference = self.config.reference
        p = read(handle, found, layers=layers, legacy_double_norm=reference, half=reference).exp()
        ranked = self.rows(p)
        if not ranked.shape[1]:
            raise UserError(f"attack[{self.name()}].layers: {len(layers)} states have no such difference. Name more.")
        wanted = [first_token(handle, goal, reference=reference) for goal in goals]
        return [self._set(handle, rows, token) for rows, token in zip(ranked, wanted, strict=True)]

    def _set(self, handle: VlmHandle, rows: Float[Tensor, "row vocab"], token: int) -> list[Reading]:
        """The candidate set of one goal: every row's best first, then every row's second best, and so on."""
        k = min(self.config.k, rows.shape[-1])
        ends = [("top", rows.topk(k, dim=-1).indices)]
        if self.config.bottom:
            ends.append(("bottom", rows.topk(k, dim=-1, largest=False).indices))
        found: dict[int, str] = {}
        for place in range(k):
            for end, ids in ends:
                for row in range(len(rows)):
                    found.setdefault(int(ids[row, place]), f"row {row} {end} {place + 1}")
        made: dict[str, Reading] = {}
        for number, origin in found.items():
            text = handle.tokenizer.decode([number])
            made.setdefault(text if text not in made else f"{text} (token {number})", Reading("", origin, False))
        readings = [Reading(text, r.origin, n == token) for (text, r), n in zip(made.items(), found, strict=True)]
        if self.config.reference and token not in found and self._tied(rows, token, k):
            readings.append(Reading("(a token tied with the k-th)", "tie", True))
        return readings

    def _tied(self, rows: Tensor, token: int, k: int) -> bool:
        """Whether the token equals the k-th value of some row: a hit in the released code."""
        own = rows[:, token]
        hit = own >= rows.topk(k, dim=-1).values[:, -1]
        if self.config.bottom:
            hit |= own <= rows.topk(k, dim=-1, largest=False).values[:, -1]
        return bool(hit.any())


def first_token(handle: VlmHandle, goal: Example, *, reference: bool = False) -> int:
    """The first token of the goal's answer, as it follows the prompt; reference: of the bare answer text."""
    if reference:
        ids = handle.tokenizer(str(goal.target), add_special_tokens=False).input_ids
        return int(ids[0])
    drawn, start = handle.tokens(goal)
    return int(drawn[start])


def hits(rows: Float[Tensor, "row vocab"], token: int, k: int, *, bottom: bool) -> bool:
    """Whether fewer than k entries of some row are larger (or smaller) than the token's: the test without a sort."""
    own = rows[:, token, None]
    found = (rows > own).sum(-1) < k
    if bottom:
        found |= (rows < own).sum(-1) < k
    return bool(torch.as_tensor(found).any())
