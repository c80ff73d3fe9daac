"""What the methods of the objective engine share: a weight table made from a rule and three weights."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import Field

from mmunlearn.data import Split
from mmunlearn.handle import Handle
from mmunlearn.methods.base import GradientMethod, Need, Optimiser, Phase, Step, rate
from mmunlearn.objective import Objective, Part, Rules
from mmunlearn.settings import Settings

ForgetRule = Literal["ascent", "po", "npo", "simnpo", "dpo"]


class Weights(Settings):
    """Coefficients of the forget part, of the retain part and of the prompt decouple loss; 0 leaves a part out.

    ce: of cross-entropy on retain beside a retain part of another kind (OFFSIDE's KL)."""

    forget: float = Field(1.0, ge=0)
    retain: float = Field(0.0, ge=0)
    ce: float = Field(0.0, ge=0)
    pd: float = Field(0.0, ge=0)


class ObjectiveMethod(GradientMethod):
    """Minimise `forget·(forget part) + retain·(retain part) + pd·CE(pd)`; a subclass names the rule and the weights.

    rule "ascent": −CE(forget). "po": the mean of CE over the tokens of refusals and retain answers together. "npo",
    "simnpo", "dpo" (a refusal preferred to the forget answer): as in the core methods of these names. The retain part
    is CE or KL(original ‖ model) on a random retain example beside each forget example; pd is the benchmark's harmless
    twin of the forget example (SafeEraser). An epoch is a pass over the forget set.
    """

    rule: ClassVar[ForgetRule] = "ascent"
    # The toy's forget set is a dozen answers; rates of the papers are made for thousands.
    # Plain descent, since Adam turns the rounding of a gradient that is zero (an attention key's bias) into steps.
    toy = {"epochs": 6, "batch_size": 12, "optimiser": {"name": "sgd", "lr": 0.1}}

    class Config(GradientMethod.Config, Rules):
        """weights: see the class. retain: what the retain part is. warmup_frac: share of the steps over which the rate
        rises from 0. The other fields: GradientMethod and Rules. Defaults are SafeEraser's."""

        optimiser: Optimiser = Optimiser(name="adamw", lr=1e-4, weight_decay=0.01)
        epochs: int = 10
        batch_size: int = 32
        schedule: Literal["constant", "cosine", "linear", "one_cycle"] = "cosine"
        warmup_frac: float = Field(0.06, ge=0, lt=1)
        clip_norm: float | None = 1.0
        augment: bool = False
        weights: Weights = Weights()
        retain: Literal["ce", "kl"] = "ce"

    def table(self) -> tuple[Part, ...]:
        """The objective as weighted terms on streams."""
        w = self.config.weights
        forget = {
            "ascent": Part("ascent", ("forget",), w.forget),
            "po": Part("ce", ("refusal", "retain"), w.forget),
            "npo": Part("npo", ("forget",), w.forget),
            "simnpo": Part("simnpo", ("forget",), w.forget),
            "dpo": Part("dpo", ("refusal", "forget"), w.forget),
        }[self.forget_rule()]
        kept = [Part(self.config.retain, ("retain",), w.retain), Part("ce", ("retain",), w.ce)]
        return (forget, *kept, Part("ce", ("pd",), w.pd))

    def forget_rule(self) -> ForgetRule:
        """The rule of the forget part."""
        return self.rule

    def required(self) -> frozenset[str]:
        """The splits of the streams in use; logits for a divergence over answer tokens."""
        objective = self.objective()
        logits = any(part.kind == "kl" for part in objective.parts) and self.config.kl_scope == "answer"
        return frozenset(self.needs) | objective.splits | ({Need.LOGITS} if logits else frozenset())

    def objective(self) -> Objective:
        """The engine for this method's table and settings."""
        return Objective(self.table(), self.config, self.name())

    def prepare(self, handle: Handle, data: Mapping[str, Split], run) -> None:
        """Streams, and the original's records where the table compares with it."""
        self._objective = self.objective()
        self._streams = self._objective.streams(data, run.seed, self.stream)
        self._objective.remember(handle, self._streams, self.config.epochs)

    def phases(self, handle: Handle, data: Mapping[str, Split], run) -> Sequence[Phase]:
        """One phase over the forget set."""
        driver = next(iter(self._streams))
        schedule = warmed(rate(self.config.schedule), self.config.warmup_frac)
        return [self.simple_phase(self._objective.terms, self._streams, driver, rate=schedule)]


def warmed(after: Callable[[Step], float] | None, warmup_frac: float) -> Callable[[Step], float] | None:
    """A linear rise from 0 over the first share of the steps, then `after` over the rest (the shape of transformers'
    schedules with warm-up, rounded up to whole steps)."""
    if not warmup_frac:
        return after

    def factor(step: Step) -> float:
        rise = math.ceil(warmup_frac * step.total)
        if step.index < rise:
            return step.index / rise
        if after is None:
            return 1.0
        rest = Step(step.phase, 0, step.index - rise, max(1, step.total - rise), 1, step.seed)
        return after(rest)

    return factor
