"""Safe latent diffusion: at each step guidance is turned away from the concept where it nears it."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from mmunlearn.data import Split
from mmunlearn.handle import Handle
from mmunlearn.methods.base import GuardMethod
from mmunlearn.settings import Settings, merge, plain

from ..conditioning import Condition
from ..guard import Guard, GuardStep
from ..handle import DiffusionHandle
from ._guarding import guarded, phrases

# The paper's four configurations; its warm-up of 15, 10, 7 and 0 steps is a share of its 50 steps.
STRENGTHS: Mapping[str, Mapping[str, float]] = {
    "weak": {"safety_scale": 200.0, "warmup_frac": 0.3, "threshold": 0.0, "momentum_scale": 0.0, "momentum_beta": 0.0},
    "medium": {
        "safety_scale": 1000.0, "warmup_frac": 0.2, "threshold": 0.01, "momentum_scale": 0.3, "momentum_beta": 0.4,
    },
    "strong": {
        "safety_scale": 2000.0, "warmup_frac": 0.14, "threshold": 0.025, "momentum_scale": 0.5, "momentum_beta": 0.7,
    },
    "max": {"safety_scale": 5000.0, "warmup_frac": 0.0, "threshold": 1.0, "momentum_scale": 0.5, "momentum_beta": 0.7},
}  # fmt: skip


class Sld(GuardMethod):
    """Subtract from the guidance `ε(c) − ε(∅)` the safety term `γ = μ (ε(c_S) − ε(∅)) + s_m ν`, where c_S are the
    concept's words.

    μ is `min(1, s_S |ε(c) − ε(c_S)|)` where `ε(c) − ε(c_S) < threshold` and 0 elsewhere, value by value; the momentum ν
    becomes `β ν + (1 − β) γ` from the first step on, the subtraction starts after the warm-up. Source: arXiv
    2211.05105, equations 3 to 8, and the pipeline that SPM's repository carries (3dd762e, src/misc/sld_pipeline.py).
    Differs from the paper: its equation 6 writes max where its code, which made its tables, cuts μ off at 1, as here.
    """

    needs = frozenset({"concept"})
    intent = "suppression"
    paper = "Schramowski et al. 2023 (Safe Latent Diffusion, CVPR, arXiv 2211.05105)"
    stochastic = False

    class Config(Settings):
        """strength: a configuration of the paper, under the other fields. safety_scale: s_S. warmup_frac: of the steps.
        momentum_scale: s_m. momentum_beta: β. text: c_S; None is the concept's phrases."""

        strength: Literal["weak", "medium", "strong", "max"] = "medium"
        safety_scale: float = Field(1000.0, ge=0)
        warmup_frac: float = Field(0.2, ge=0, le=1)
        threshold: float = 0.01
        momentum_scale: float = Field(0.3, ge=0)
        momentum_beta: float = Field(0.4, ge=0, le=1)
        text: str | None = None

    @classmethod
    def defaults(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the strength that is asked for."""
        return merge(plain(cls.Config()), STRENGTHS.get(str(given.get("strength", "medium")), {}))

    def wrap(self, handle: Handle, data: Mapping[str, Split], run) -> Handle:
        """Remember words and settings."""
        assert isinstance(handle, DiffusionHandle)
        c = self.config
        text = c.text if c.text is not None else ", ".join(phrases(data["concept"], self.name()))
        rule = Rule(c.safety_scale, c.warmup_frac, c.threshold, c.momentum_scale, c.momentum_beta)
        return guarded(handle, Safety(text, rule))


class Rule(NamedTuple):
    """The numbers of the safety term; see Sld.Config."""

    safety_scale: float
    warmup_frac: float
    threshold: float
    momentum_scale: float
    momentum_beta: float


class Safety(Guard):
    """Predicts the concept beside prompt and empty prompt, and keeps the momentum of a batch."""

    method: ClassVar[str] = "sld"

    def __init__(self, text: str, rule: Rule):
        self.text, self.rule = text, rule

    def facts(self) -> Mapping[str, Any]:
        """Words and numbers."""
        return {"text": self.text, "rule": self.rule._asdict()}

    def further(self, handle: DiffusionHandle, texts: Sequence[str]) -> Condition:
        """The concept's words for every prompt."""
        return handle.encode([self.text] * len(texts))

    def guidance(
        self, step: GuardStep, unconditional: Tensor, conditional: Tensor, further: Tensor | None
    ) -> Tensor | None:
        """Guided prediction without the part that leads to the concept."""
        assert further is not None
        rule, old = self.rule, step.memory.get("momentum", torch.zeros_like(conditional))
        gap = conditional - further
        weight = (rule.safety_scale * gap.abs()).clamp(max=1.0).where(gap < rule.threshold, 0.0)
        safety = weight * (further - unconditional) + rule.momentum_scale * old
        step.memory["momentum"] = rule.momentum_beta * old + (1 - rule.momentum_beta) * safety
        direction = conditional - unconditional
        if step.index >= round(rule.warmup_frac * step.steps):
            direction = direction - safety
        return unconditional + step.scale * direction


def restore(facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Safety:
    """The guard that `facts` describe."""
    return Safety(str(facts["text"]), Rule(**facts["rule"]))
