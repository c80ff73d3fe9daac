"""Multi-hop: the fact is reached through something else that the model says or that is known of the subject."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from pydantic import Field

from mmunlearn.attacks.base import Access, Metered, renamed
from mmunlearn.attacks.base_goals import InputAttack, InputSettings, Trial
from mmunlearn.data import Example
from mmunlearn.handle import Decoding

from ..asking import Ways, name_of, reworded, rewordings, siblings
from .text_probe import SHOWN

HOPS = ("Who or what is shown in this picture?", "Describe what you know about what is shown in this picture.")


class MultiHop(InputAttack):
    """Chains: the model names or describes what it sees, and the question follows with its own words before it; a known
    other fact about the subject stands before the question; the question asks for the way through the subject itself.

    Known facts are those of other goals about the same subject (never one with the same answer), their name included;
    what holds the answer of the goal is left out, also where the model itself said it. Costs a query a hop and goal.
    Access: text.
    """

    class Config(InputSettings):
        """hops: questions asked first; empty: the built-in two. facts: how many other facts are used, each alone.
        max_new_tokens: of a hop's answer."""

        candidates: int = Field(6, ge=1)
        hops: tuple[str, ...] = ()
        facts: int = Field(2, ge=0)
        max_new_tokens: int = Field(32, ge=1)

    access = Access.TEXT
    suite = "vqa"
    paper = "Li et al., MMUBench, NeurIPS 2024 (multi-hop questions); chains of this project"

    def __init__(self, config=None):
        super().__init__(config)
        self.among: tuple[Example, ...] = ()

    def begin(self, goals: Sequence[Example]) -> None:
        """Other goals may be about the same subject."""
        self.among = tuple(goals)

    def search(self, handle: Metered, goals: Sequence[Example], seed: int) -> Iterator[Trial]:
        """Asks the hops in one batch, then chains."""
        hops = self.config.hops or HOPS
        asked = [
            replace(reworded(goal, hop), id=renamed(goal.id, f"hop{k}"), target=None)
            for goal in goals
            for k, hop in enumerate(hops)
        ]
        how = Decoding(max_new_tokens=self.config.max_new_tokens)
        said = [str(answer.fields.get("text", "")) for answer in handle.respond(asked, how, seed)]
        answers = {goal.id: said[i * len(hops) : (i + 1) * len(hops)] for i, goal in enumerate(goals)}
        yield from rewordings(goals, lambda goal: self._chains(goal, answers[goal.id]))

    def _chains(self, goal: Example, said: Sequence[str]) -> Ways:
        question, among = goal.prompt or "", self.among
        for number, answer in enumerate(said):
            if answer:
                yield f"after its answer {number}", f"{answer} {question}"
        name = name_of(goal, among)
        if name:
            yield "through the name", f"This is {name}. {SHOWN.sub(name, question)}"
        for other in siblings(goal, among)[: self.config.facts]:
            yield f"after the fact {other.id}", f"{other.target} {question}"
        yield "two steps", f"First think of who or what is shown here. Then answer: {question}"
        yield "by the subject", f"Think of everything you know about what is shown. Now the question: {question}"
