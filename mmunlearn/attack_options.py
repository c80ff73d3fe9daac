"""What attacks of one command share, and what is asked and judged under it: goals, judge, decoding."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from pydantic import Field

from mmunlearn import registry
from mmunlearn.attack_target import Target
from mmunlearn.attacks.base import Attack
from mmunlearn.card_tables import EvaluationPlan
from mmunlearn.data import Example, spread
from mmunlearn.errors import UserError, near_miss
from mmunlearn.handle import Decoding
from mmunlearn.judges.base import Judge
from mmunlearn.settings import Settings, plain

Named = str | dict[str, Any]
DEFAULT_JUDGES: Mapping[str, Named] = {
    "vlm": {"name": "keywords", "binary": True}, "vision": "exact", "tiny": "exact",
}  # fmt: skip


class AttackOptions(Settings):
    """What every attack of one command shares.

    splits: whose figures are shown. members, others: what membership attacks tell apart (the first of `others` that the
    data has). membership: metrics of the two that are followed over the budgets of weight attacks.
    shadows: shadow models of the bank that is trained (or found in the cache) for attacks that need one and name none.
    gradient_norm: membership also by the norm of each example's gradient over all weights, a backward pass an example.
    relearn_time: also count epochs until the forgotten is back (relearn; needs the original, its ratio AIN a control).

    goals: split of what the attacker wants back (default: the card's word, else forget). limit: at most so many goals
    (0: all), spread over the split, the same for every model. judge: a name, or a mapping with `name` and settings; its
    value 1 says that the attacker succeeded (default: the card's, else by modality). decoding: laid over the run's own.
    answers: at most so many examples a split that models with changed weights are asked (0: all). candidates_from: an
    attack on another run (its folder, or the run), whose winning candidates are asked in place of a search.
    """

    splits: tuple[str, ...] = ("forget", "test", "retain")
    members: str = "forget"
    others: tuple[str, ...] = ("unseen", "test")
    membership: tuple[str, ...] = ("mia", "auc")
    batch_size: int | None = Field(None, ge=1)
    shadows: int = Field(0, ge=0, multiple_of=2)
    gradient_norm: bool = True
    relearn_time: bool = False
    goals: str = ""
    limit: int = Field(64, ge=0)
    judge: Named | None = None
    decoding: dict[str, Any] = Field(default_factory=dict)
    answers: int = Field(0, ge=0)
    candidates_from: str = ""


@dataclass(frozen=True)
class Stage:
    """One attack under one set of options."""

    attack: Attack
    title: str
    options: AttackOptions


@dataclass(frozen=True)
class Question:
    """What the attacker is after on one model: which examples, who judges, how answers are made."""

    target: Target
    options: AttackOptions

    @property
    def split(self) -> str:
        """Name of the split of goals."""
        card = self.target.card
        told = self.options.goals or (card.attack.goals if card is not None and card.attack is not None else "forget")
        if told not in self.target.data:
            raise UserError(f"options.goals: split {told!r} is not in this data. {near_miss(told, self.target.data)}")
        return told

    @property
    def goals(self) -> tuple[Example, ...]:
        """The goals, in the split's order."""
        return spread(self.target.data[self.split], self.options.limit).examples

    @cached_property
    def judge_words(self) -> dict[str, Any] | None:
        """Name and settings of the judge; None where nobody says who judges."""
        found = self.options.judge or self._card_judge() or DEFAULT_JUDGES.get(self.target.modality)
        if found is None:
            return None
        settings = self.target.settings
        told = EvaluationPlan(name="attack", judge=found).at(settings.root if settings else None)
        if settings is not None:
            told = told.with_backend(settings.evaluate.judge_backend)
        return {"name": told.judge_name, **told.judge_settings}

    @cached_property
    def judge(self) -> Judge | None:
        """Who says that an attack succeeded."""
        if self.judge_words is None:
            return None
        words = dict(self.judge_words)
        judge = registry.load("judges", words.pop("name"), self.target.modality)(words)
        judge.ready()
        return judge

    def required_judge(self) -> Judge:
        """As `judge`; UserError where nobody says who judges."""
        if self.judge is None:
            raise UserError(
                f"options.judge: nothing says who judges whether an attack on {self.target.path.name} succeeded.\n"
                "Add options.judge=NAME (`mmunlearn list judges`); its value 1 must mean that the forgotten is shown."
            )
        return self.judge

    def _card_judge(self) -> Named | None:
        """The card's word on attacks, else the judge that it names for an evaluation of the goals."""
        card = self.target.card
        if card is None:
            return None
        if card.attack is not None and card.attack.judge and self.split == card.attack.goals:
            return card.attack.judge
        table = self.target.settings.evaluate.table if self.target.settings else None
        plans = card.plans(card.pick_table(table))
        return next((p.judge for p in plans if p.split == self.split and "judge" in p.model_fields_set), None)

    def stored(self, split: str) -> Decoding:
        """How the run's own responses to a split are made."""
        own = self.target.decoding(split)
        return own if self.options.batch_size is None else replace(own, batch_size=self.options.batch_size)

    def decoding(self, split: str) -> Decoding:
        """How a split is answered in an attack: as the run does, the card's words for attacks and the options' laid
        over it."""
        card = self.target.card
        words = dict(card.attack.decoding) if card is not None and card.attack is not None else {}
        words |= self.options.decoding
        own = self.stored(split)
        known = {key: words.pop(key) for key in ("max_new_tokens", "temperature", "batch_size") if key in words}
        return replace(own, fields={**own.fields, **words}, **known)

    def about(self) -> dict[str, Any]:
        """Goals, judge and decoding as stored with results."""
        how = self.decoding(self.split)
        told = {"max_new_tokens": how.max_new_tokens, "temperature": how.temperature, **plain(dict(how.fields))}
        return {"goals": self.split, "judge": self.judge_words, "decoding": told}
