"""Relearn: how many steps on a part of the forget set bring the rest of it back?"""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from mmunlearn.attacks.base import WeightAttack
from mmunlearn.data import Example, Role, Split
from mmunlearn.engine import Diverged, Engine
from mmunlearn.errors import UserError
from mmunlearn.handle import Decoding, Handle
from mmunlearn.phases import NormMode, Optimiser, Phase, Step, Stream, Term
from mmunlearn.run import Run
from mmunlearn.seeds import generator
from mmunlearn.settings import Settings

NEVER = 1 << 62  # optimiser steps between checkpoints that are never due


class Relearn(WeightAttack):
    """Fine-tune a copy on a seeded part of the forget set; each number of steps in `steps` gives one tampered model.

    The part that the attacker did not use tells relearning (the forgotten comes back) from learning (the attacker
    taught it): both parts are scored apart. Relearning proves incomplete forgetting only beside the same attack on a
    retrained model, so give that model as control.

    Source: objectives_and_seeds 8.8 (budgets 0, 1, 4, 16, 64 steps; full fine-tuning on a subset of the forget set, or
    benign fine-tuning). Optimiser and size of the part are this project's: 8.8 marks the paper's as unverified. A rate
    that is too high destroys what it should bring back. On the mini edition of MUFAC (seed 0, accuracy on the held-out
    half after 0, 16 and 64 steps; the original has .78) the default gives .43, .53, .66 for advanced NegGrad, .53, .54,
    .53 for SCRUB and .41, .47, .49 for the retrained model. At lr .01 without clipping the original itself falls to .47
    and SCRUB's model diverges: few weights that carry much make gradients long, hence the clipping.
    """

    needs = ("forget",)
    paper = "Model Tampering Attacks Enable More Rigorous Evaluations (arXiv 2502.05209)"

    class Config(Settings):
        """steps: budgets in optimiser steps. examples: how many examples of each split the attacker holds, by default
        the share examples_frac of the forget set. data: the split that it trains on (forget; a neighbour such as
        retain; what has nothing to do with it), or several. lora: train adapters alone (a sibling's settings, such as
        {r: 8, full: []}); None: all weights that the model trains."""

        steps: tuple[int, ...] = Field((0, 1, 4, 16, 64), min_length=1)
        examples: int | None = Field(None, ge=1)
        examples_frac: float = Field(0.5, gt=0, le=1)
        data: str | tuple[str, ...] = "forget"
        lora: dict[str, Any] | None = None
        batch_size: int = Field(32, ge=1)
        optimiser: Optimiser = Optimiser(lr=0.002, momentum=0.9)
        norm: NormMode = "frozen"  # a few small batches of one kind would pull batch statistics away from all others
        augment: bool = False
        clip_norm: float | None = 1.0

    def needed(self) -> tuple[str, ...]:
        """The forget set, and the splits that the settings name."""
        return tuple(dict.fromkeys((*self.needs, *self._names())))

    def teaches(self) -> bool:
        """Where it trains on forget examples."""
        return "forget" in self._names()

    def _names(self) -> tuple[str, ...]:
        return (self.config.data,) if isinstance(self.config.data, str) else self.config.data

    def parts(self, data: Mapping[str, Split], seed: int) -> dict[str, tuple[str, ...]]:
        """forget_trained and forget_held_out: the ids that the attacker trained on, and the other forget ids."""
        forget, used = data["forget"], set(self._training(data, seed).ids)
        return {
            "forget_trained": tuple(i for i in forget.ids if i in used),
            "forget_held_out": tuple(i for i in forget.ids if i not in used),
        }

    def tamper(self, handle: Handle, data: Mapping[str, Split], run: Run) -> Iterator[tuple[str, Handle]]:
        """The copy after each number of steps; one trajectory, so more steps continue where fewer ended."""
        budgets = sorted(set(self.config.steps))
        if self.config.lora is not None:
            handle = handle.adapted({"lora": self.config.lora})
        with tempfile.TemporaryDirectory(prefix="mmunlearn-relearn-") as folder:
            training = _Trajectory(handle, self._training(data, run.seed), self.config, Path(folder), run)
            for budget in budgets:
                training.advance(budget)
                yield f"{budget} step{'s' if budget != 1 else ''}", handle

    def _training(self, data: Mapping[str, Split], seed: int) -> Split:
        """The attacker's examples, as many of each split as of the forget set."""
        forget = self._part(data["forget"], seed)
        chosen = [forget if name == "forget" else _seeded_part(data[name], len(forget), seed) for name in self._names()]
        examples = {example.id: example for part in chosen for example in part}
        return Split("relearn", Role.TRAIN, tuple(examples.values()))

    def _part(self, forget: Split, seed: int) -> list[Example]:
        count = self.config.examples
        if count is None:
            count = max(1, round(self.config.examples_frac * len(forget)))
        return _seeded_part(forget, count, seed)


def _seeded_part(split: Split, count: int, seed: int) -> list[Example]:
    """`count` examples drawn without replacement, in the split's order; all of them when there are fewer."""
    drawn = generator(seed, "attack", "relearn", split.name).permutation(len(split))[:count]
    return [split[int(i)] for i in np.sort(drawn)]


class _Trajectory:
    """Fine-tuning that can be looked at between steps; the engine continues it as it would continue a killed run."""

    def __init__(self, handle: Handle, split: Split, config: Any, folder: Path, run: Run):
        # A run of its own: the engine resumes from a run's newest checkpoint, which is the target's on the given one.
        train = run.train.model_copy(update={"checkpoint_every": NEVER, "trackers": ()})
        self.run = _InMemory(folder, {}, run.seed, train)
        self.handle, self.config, self.split, self.done = handle, config, split, 0

    def advance(self, steps: int) -> None:
        """Train up to `steps` steps in all."""
        if steps <= self.done:
            return
        engine = Engine(self.handle, self.run)
        self.train(engine, self.phase(steps=steps))
        self.done = steps
        self.run.state = engine.state(0, steps)

    def train(self, engine: Engine, phase: Phase) -> None:
        """Run `phase`; a divergence is told in the attack's own words."""
        try:
            engine.run([phase])
        except Diverged as error:
            clip = self.config.clip_norm
            raise UserError(
                f"attack 'relearn' diverged ({str(error).splitlines()[0]})\n"
                f"Lower relearn.optimiser.lr (now {self.config.optimiser.lr:g}) or relearn.clip_norm (now {clip})."
            ) from None

    def phase(self, **more: Any) -> Phase:
        """Cross-entropy (the handle's own loss) on the attacker's examples."""
        c = self.config
        stream = Stream(self.split, c.batch_size, augment=c.augment)
        return Phase(
            name="relearn", streams={"relearn": stream}, driver="relearn", terms=_terms, spec=c.optimiser, norm=c.norm,
            clip_norm=c.clip_norm, **more,
        )  # fmt: skip


class _InMemory(Run):
    """A run whose newest checkpoint lies in memory."""

    state: dict[str, Any] | None = None

    def latest(self) -> dict[str, Any] | None:
        """The state that the trajectory left, or None at its start."""
        return self.state


def _terms(handle: Handle, batches, step: Step) -> dict[str, Term]:
    return {"ce": Term(handle.score(batches["relearn"]).nll.sum(), "relearn")}


def relearn_epochs(
    handle: Handle, forget: Split, run: Run, *, goal_accuracy: float, config: Settings | None = None, limit: int = 100
) -> int:
    """Epochs of fine-tuning a copy on all of `forget` until its accuracy is at least `goal_accuracy`, at most `limit`.

    0 when the model is there already; `limit` when it never gets there. Source: vision.md 5.4, relearn time and AIN.
    Differs from the reference, which fine-tunes the unlearned model itself and so destroys it: this works on a copy.
    """
    copy, config, how = handle.copy(), config or Relearn.Config(), Decoding()

    def accuracy() -> float:
        answers = copy.respond(forget.examples, how, run.seed)
        return float(np.mean([_right(a.fields["logits"], a.fields["target"]) for a in answers]))

    if accuracy() >= goal_accuracy:
        return 0
    reached: list[int] = []

    def look(_: Handle, step: Step) -> bool:
        if accuracy() >= goal_accuracy:
            reached.append(step.epoch + 1)
        return bool(reached)

    with tempfile.TemporaryDirectory(prefix="mmunlearn-relearn-") as folder:
        training = _Trajectory(copy, forget, config, Path(folder), run)
        training.train(Engine(copy, training.run), training.phase(epochs=limit, after_epoch=look))
    return reached[0] if reached else limit


def _right(logits: list[list[float]], target: list[int]) -> float:
    """Share of an example's items answered right; padding beyond its targets does not count."""
    from mmunlearn.metrics.top1 import correct

    return float(correct(np.asarray([logits[: len(target)]]), np.asarray([target]))[0])


def anamnesis(epochs: int, reference_epochs: int) -> float:
    """Anamnesis index AIN = (rt(θ) + .01) / (rt(θ*) + .01): 1 is ideal, below 1 the model remembers (vision.md 5.4)."""
    return (epochs + 0.01) / (reference_epochs + 0.01)


def recovery_goal(original_accuracy: float, *, margin_frac: float = 0.05) -> float:
    """Accuracy on the forget set at which it counts as relearned: (1 − margin)·original (vision.md 5.4: α = .05)."""
    return (1 - margin_frac) * original_accuracy
