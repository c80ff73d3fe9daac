"""Negative prompt: guidance pushes away from the concept's words instead of from the empty prompt."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from mmunlearn.data import Split
from mmunlearn.handle import Handle
from mmunlearn.methods.base import GuardMethod
from mmunlearn.settings import Settings

from ..conditioning import Condition
from ..guard import Guard
from ..handle import DiffusionHandle
from ._guarding import guarded, phrases


class NegativePrompt(GuardMethod):
    """Sample every prompt with the concept's words in the unconditional half: `ε = ε(c_neg) + s (ε(c) − ε(c_neg))`.

    The usual practice of the Stable Diffusion community, a baseline of the erasure papers (as in arXiv 2303.07345). It
    takes the place of a request's own negative prompt and has no effect at scale 1.
    """

    needs = frozenset({"concept"})
    intent = "suppression"
    paper = "Ho and Salimans 2022 (classifier-free guidance, arXiv 2207.12598)"
    stochastic = False

    class Config(Settings):
        """text: the negative prompt; None is the concept's phrases."""

        text: str | None = None

    def wrap(self, handle: Handle, data: Mapping[str, Split], run) -> Handle:
        """Remember the words."""
        assert isinstance(handle, DiffusionHandle)
        text = self.config.text
        return guarded(handle, Negative(text if text is not None else ", ".join(phrases(data["concept"], self.name()))))


class Negative(Guard):
    """Replaces the unconditional condition by that of `text`."""

    method: ClassVar[str] = "negative_prompt"

    def __init__(self, text: str):
        self.text = text

    def facts(self) -> Mapping[str, Any]:
        """The words."""
        return {"text": self.text}

    def unconditional(self, handle: DiffusionHandle, texts: Sequence[str], empty: Condition) -> Condition:
        """The words' condition for every prompt."""
        return handle.unconditional([self.text] * len(texts))


def restore(facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Negative:
    """The guard that `facts` describe."""
    return Negative(str(facts["text"]))
