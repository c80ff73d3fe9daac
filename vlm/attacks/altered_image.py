"""Altered image: the same question about the picture with noise, cropped, recoloured, occluded or written over."""

from collections.abc import Iterator, Sequence

import numpy as np
from pydantic import Field, field_validator

from mmunlearn.attacks.base import Access, Metered
from mmunlearn.attacks.base_goals import InputAttack, InputSettings, Trial
from mmunlearn.data import Example
from mmunlearn.seeds import generator

from ..alterations import ALTERATIONS, LEVELS
from ..asking import repictured


class AlteredImage(InputAttack):
    """Each kind at each level is a candidate, the mildest level of every kind first; a goal without a picture has none.

    Draws (noise, places, words) depend on (seed, goal, kind, level). The pictures are stored as PNG in the candidates.
    Access: chosen pictures.
    """

    class Config(InputSettings):
        """kinds: which alterations, in order. levels: how strong, 1 to 3."""

        candidates: int = Field(len(ALTERATIONS) * len(LEVELS), ge=1)
        kinds: tuple[str, ...] = tuple(ALTERATIONS)
        levels: tuple[int, ...] = LEVELS

        @field_validator("kinds")
        @classmethod
        def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
            if not value or set(value) - set(ALTERATIONS):
                raise ValueError(f"known kinds: {', '.join(ALTERATIONS)}")
            return value

        @field_validator("levels")
        @classmethod
        def _levels(cls, value: tuple[int, ...]) -> tuple[int, ...]:
            if not value or set(value) - set(LEVELS):
                raise ValueError(f"known levels: {', '.join(map(str, LEVELS))}")
            return value

    access = Access.IMAGE
    suite = "vqa"
    paper = "Patil et al., UnLOK-VQA (image rephrasing), and OMM (image rephrase); alterations of this project"

    def search(self, handle: Metered, goals: Sequence[Example], seed: int) -> Iterator[Trial]:
        """Candidates in a fixed order; the model is not asked."""
        for index, goal in enumerate(goals):
            if goal.image is None:
                continue
            picture = np.asarray(goal.image.open())
            ways = [(kind, level) for level in self.config.levels for kind in self.config.kinds]
            for number, (kind, level) in enumerate(ways):
                draw = generator(seed, "attack", "altered", goal.id, kind, level)
                changed = ALTERATIONS[kind](picture, level, draw)
                yield Trial(repictured(goal, changed), -float(number), index, f"{kind} {level}")
