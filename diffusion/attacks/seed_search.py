"""Seed search: the same prompt with other initial noise."""

from collections.abc import Sequence

from mmunlearn.attacks.base import Access, Metered
from mmunlearn.data import Example
from mmunlearn.seeds import generator

from .base_prompts import Place, PromptAttack, PromptSettings, Walker

MOST = 9_000_000_000  # seeds that the reference draws from


class SeedSearch(PromptAttack):
    """The goal's prompt with seeds drawn at random, no two alike (diffusion sheet 2.6: 40 seeds, never stopping early,
    which `stop: never` does; the success rate at a budget is the same)."""

    access = Access.TEXT
    paper = "Zhang et al. 2024 (UnlearnDiffAtk, seed_search)"
    toy = {"candidates": 2}

    class Config(PromptSettings):
        """Settings and budget; every field has a default."""

    def walker(self, handle: Metered, places: Sequence[Place], seed: int, attempt: int) -> Walker:
        """Seeds of each goal's own."""
        return _Seeds(places, seed)

    def inserted(self, goal: Example, words: int) -> int:
        """None."""
        return 0


class _Seeds:
    def __init__(self, places: Sequence[Place], seed: int):
        self.draws = [generator(seed, "attack", "seed_search", place.goal.id) for place in places]
        self.used = [{place.seed} for place in places]

    def propose(self, handle: Metered, number: int) -> list[int]:
        """The next seed of each goal."""
        found = []
        for draw, used in zip(self.draws, self.used, strict=True):
            drawn = int(draw.integers(MOST))
            while drawn in used:
                drawn = int(draw.integers(MOST))
            used.add(drawn)
            found.append(drawn)
        return found

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these goals."""
        self.draws, self.used = [self.draws[i] for i in rows], [self.used[i] for i in rows]
