"""Random tokens inserted into the prompt: what chance finds with the same budget of pictures."""

from collections.abc import Sequence

from mmunlearn.attacks.base import Access, Metered
from mmunlearn.seeds import generator

from ..prompt_tokens import Coded
from .base_prompts import Place, PromptAttack, PromptSettings, Walker, model_of


class RandomTokens(PromptAttack):
    """k tokens drawn uniformly from the vocabulary, afresh for every picture (diffusion sheet 2.6, where 40 prefixes
    are drawn; here as many as the budget). Needs no more than the tokenizer."""

    access = Access.TEXT
    paper = "Zhang et al. 2024 (UnlearnDiffAtk, random)"
    toy = {"candidates": 2, "k": 2}

    class Config(PromptSettings):
        """Settings and budget; every field has a default."""

    def walker(self, handle: Metered, places: Sequence[Place], seed: int, attempt: int) -> Walker:
        """Draws of each goal's own."""
        return _Draws(len(model_of(handle).tokenizer), places, seed)


class _Draws:
    def __init__(self, words: int, places: Sequence[Place], seed: int):
        self.words, self.places = words, list(places)
        self.draws = [generator(seed, "attack", "random_tokens", place.goal.id) for place in places]

    def propose(self, handle: Metered, number: int) -> list[Coded]:
        """The next draw of each goal."""
        return [
            Coded(place.filled(draw.integers(0, self.words, size=place.k).tolist()), place.goal.prompt or "")
            for place, draw in zip(self.places, self.draws, strict=True)
        ]

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these goals."""
        self.places, self.draws = [self.places[i] for i in rows], [self.draws[i] for i in rows]
