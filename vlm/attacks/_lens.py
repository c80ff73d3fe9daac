"""What the read-outs of UnLOK-VQA share: candidate sets of tokens from the logit lens over several layers."""

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import ExitStack
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from mmunlearn.attacks.base import Access, Metered
from mmunlearn.attacks.base_goals import GoalSettings, Reading, ReadoutAttack
from mmunlearn.data import Example
from mmunlearn.errors import UserError

from .. import single_edits
from ..handle import VlmHandle
from ..logit_lens import chosen_layers, evaluating, read, states
from ..single_edits import Edits
from ..telling import Telling, telling_word


class LensSettings(GoalSettings):
    """layers: states that are read, 0 the embeddings (none: the last of the model, as many as the reference takes). k:
    tokens taken from each row's end. bottom: take the k smallest too. reference: the released code's arithmetic, the
    last state normed twice, 16-bit floats, ties with the k-th value count as hits, the answer tokenised without its
    blank. place: what is looked for in the answer: its first token (the reference), or its telling word; `auto`: that
    word where the goal has keywords and its answer does not begin with one."""

    layers: tuple[int, ...] = ()
    k: int = Field(4, ge=1)
    bottom: bool = False
    reference: bool = False
    place: Literal["auto", "first", "telling"] = "auto"


class LensReadout(ReadoutAttack):
    """Read candidates for the answer's first token out of the layers; a subclass makes its rows of the layers'
    probabilities. |C| is at most rows · k · (2 with the bottom), less where a token comes twice.

    An answer that is a sentence begins like every other answer to its question, so its first token tells nothing. Of
    such an answer the telling word is looked for: the attacker knows the words before it, takes the word's first token
    from the set and lets the model go on greedily, so the word is found where its first token is in the set and each
    further one is then the likeliest (this project's reading; the reference's facts are single words)."""

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
        sought = [self._sought(handle, goal) for goal in goals]
        prompts = [word.ids[: word.place] for word in sought]
        found = states(handle, goals, batch_size=self.config.together, extra=extra, prompts=prompts)
        layers = chosen_layers(self.config.layers, found.shape[1], self.usual)
        reference = self.config.reference
        p = read(handle, found, layers=layers, legacy_double_norm=reference, half=reference).exp()
        ranked = self.rows(p)
        if not ranked.shape[1]:
            raise UserError(f"attack[{self.name()}].layers: {len(layers)} states have no such difference. Name more.")
        goes_on = self._goes_on(handle, goals, sought, extra)
        return [
            self._set(handle, rows, word.ids[word.place] if whole else None)
            for rows, word, whole in zip(ranked, sought, goes_on, strict=True)
        ]

    def _sought(self, handle: VlmHandle, goal: Example) -> Telling:
        """Where the token that is looked for stands, and the tokens of its word behind it."""
        place, prompt = self.config.place, handle.prompt_ids(goal)
        first = Telling((*prompt, first_token(handle, goal, reference=self.config.reference)), len(prompt))
        if self.config.reference or place == "first" or (place == "auto" and not goal.tags.get("keywords")):
            return first
        word = telling_word(handle, goal)
        return first if place == "auto" and word.place == len(prompt) else word

    def _goes_on(
        self, handle: VlmHandle, goals: Sequence[Example], sought: Sequence[Telling], extra: Edits | None
    ) -> list[bool]:
        """Whether the model itself, after the first token of each word, says the rest of it: each token the argmax."""
        found = [True] * len(goals)
        longer = [row for row, word in enumerate(sought) if word.place + 1 < len(word.ids)]
        if not longer:
            return found
        chosen = [goals[row] for row in longer]
        batch = handle.collated(chosen, [(sought[row].ids, sought[row].place + 1) for row in longer]).to(handle.device)
        with torch.no_grad(), evaluating(handle.module), ExitStack() as stack:
            if extra is not None:
                stack.enter_context(single_edits.applied(handle.model, extra, extra.rows(chosen).to(handle.device)))
            stats, owner = handle.token_stats(batch)
        for row, rank in zip(owner.tolist(), stats.rank.tolist(), strict=True):
            found[longer[row]] &= rank == 0
        return found

    def _set(self, handle: VlmHandle, rows: Float[Tensor, "row vocab"], token: int | None) -> list[Reading]:
        """The candidate set of one goal: every row's best first, then every row's second best, and so on. token: the
        hit; None where no candidate can be one."""
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
        if self.config.reference and token is not None and token not in found and self._tied(rows, token, k):
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
