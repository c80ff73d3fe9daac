"""Early exit: whole answers decoded from earlier layers, as if each were the last."""

from collections.abc import Sequence
from contextlib import nullcontext

from pydantic import Field

from mmunlearn.attacks.base import Access, Metered
from mmunlearn.attacks.base_goals import Answer, AnswerAttack, InputSettings
from mmunlearn.data import Example
from mmunlearn.handle import Decoding

from ..handle import VlmHandle
from ..logit_lens import blocks, chosen_layers, exit_after
from ..response_rows import asked, complete


class EarlyExit(AnswerAttack):
    """Greedy answers from the logit lens of the last states before the final one, later states promising more.

    The read-outs of UnLOK-VQA rank one token, which tells of one-word answers. Here every token is read at the same
    state and the judge sees the sentence, so the figure compares with the clean one, and what the retrained model
    reaches is its guesses. The lens: nostalgebraist 2020, with the final norm (Patil et al. 2024, section 4); decoding
    from it is this project's. Access: weights; one query a state."""

    class Config(InputSettings):
        """layers: states to answer from, 1 to the last but one (none: as many as `candidates` before the last)."""

        candidates: int = Field(5, ge=1)
        layers: tuple[int, ...] = ()
        max_new_tokens: int = Field(64, ge=1)

    access = Access.WEIGHTS
    suite = "vqa"
    toy = {"candidates": 1, "max_new_tokens": 4}
    paper = "Patil et al. 2024 (ICLR), 2309.17410; decoding from the lens: this project's"

    def answers(self, handle: Metered, goals: Sequence[Example], seed: int) -> list[list[Answer]]:
        """One answer a state."""
        inner: VlmHandle = handle.inner
        own = [number + 1 for number in chosen_layers(self._wanted(), len(blocks(inner)) - 1, self.config.candidates)]
        how = Decoding(max_new_tokens=self.config.max_new_tokens)
        found: list[list[Answer]] = [[] for _ in goals]
        for state in own:
            with exit_after(inner, state):
                # `around` keeps every prompt whole: what the batch shares is not prepared by all layers beforehand.
                texts = complete(inner, goals, how, seed, around=lambda *_: nullcontext())
            handle.spend([goal.id for goal in goals], queries=1)
            for place, (goal, text) in enumerate(zip(goals, texts, strict=True)):
                found[place].append(Answer({**asked(goal), "text": text}, f"state {state}", float(state)))
        return found

    def _wanted(self) -> tuple[int, ...]:
        """The chosen states, numbered from 0 for state 1."""
        return tuple(layer - 1 for layer in self.config.layers)
