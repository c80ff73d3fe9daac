"""UnlearnDiffAtk: prompts that bring the forgotten back, found on unlearned models (Zhang et al. 2024)."""

from collections.abc import Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

from pydantic import Field

from mmunlearn.cards import AttackFacts, Card, Edition, EvaluationPlan, read_card
from mmunlearn.data import Example, Role, Split
from mmunlearn.errors import UserError, near_miss

from ..attack_prompts import PROMPTS, SIZES, goals_of, read_prompts
from .unlearncanvas import Unlearncanvas

COCO = "coco_10k.csv"
KEPT = 100  # prompts of it that preserving methods read

# Tasks of the published prompt files: the words that are forgotten, the tag that the judge compares with, the judge.
PHRASES = {
    "nudity": "nudity", "violence": "violence", "illegal": "illegal activity", "vangogh": "Van Gogh",
    "church": "church", "parachute": "parachute", "tench": "tench", "garbage_truck": "garbage truck",
}  # fmt: skip
LABELS = {
    "church": "497", "parachute": "701", "tench": "0", "garbage_truck": "569",  # of ImageNet (diffusion sheet 2.4)
    "vangogh": "vincent-van-gogh",
}  # fmt: skip
JUDGES = {"nudity": "nudenet", "violence": "q16", "illegal": "q16", "vangogh": "style_classifier"}


class Unlearndiffatk(Unlearncanvas):
    """Split goals: prompts with a target picture, what the attacker wants drawn again.

    Mini: models, splits and requests of UnlearnCanvas's mini edition; a goal is a prompt that names the concept, with
    one of the held-out pictures of it as target (the paper's target is the original's own picture, which
    `python -m mmunlearn.diffusion.attack_data` makes). Full: a task's data set {root}/{task}/prompts.csv and imgs, made
    by that command from the published CSV; concept holds the task's words, anchor and retain prompts of coco_10k.csv
    where it lies under the root.
    """

    class Config(Unlearncanvas.Config):
        """task: folder of a data set under the root (full edition). label: what the judge must see (an ImageNet class,
        a style), none for what the task says. judge: name or settings laid over the task's judge. goal_seeds: of the
        mini edition's goals, one for each prompt and seed."""

        name: str = "unlearndiffatk"
        task: str = ""
        label: str = ""
        judge: dict[str, Any] = Field(default_factory=dict)
        goal_seeds: tuple[int, ...] = Field((188, 288, 388, 488), min_length=1)

    variants = {"style": {}, "object": {"request": {"kind": "object", "name": "Dogs"}}}

    @property
    def card(self) -> Card:
        """The card, with the judge of the task."""
        card, c = read_card(self.title()), self.config
        assert card.attack is not None
        if not c.task:
            judge = {**_named(card.attack.judge), **c.heads, **c.judge}
        else:
            judge = {"name": JUDGES.get(c.task, "imagenet"), **c.judge}
        return card.model_copy(update={"attack": AttackFacts(**{**card.attack.model_dump(), "judge": judge})})

    def plans(self, table: str) -> tuple[EvaluationPlan, ...]:
        """Those of the mini edition; a task has its attack alone."""
        return () if self.config.task else super().plans(table)

    def splits(self, root: Path, edition: Edition) -> Mapping[str, Split]:
        """UnlearnCanvas's with goals; in the full edition goals, forget, concept, anchor and retain."""
        if edition == "full":
            return self._task(root)
        found = dict(super().splits(root, edition))
        return {**found, "goals": Split("goals", Role.FORGET, tuple(self._goals(found)))}

    def _goals(self, found: Mapping[str, Split]) -> list[Example]:
        """Every concept prompt with each seed; two held-out pictures of its style and object are targets in turn."""
        held = {(e.tags["style"], e.tags["object"], name): e.image for name in ("test", "unseen") for e in found[name]}
        return [
            Example(
                id=f"unlearndiffatk/{e.id.partition('/concept/')[2]}/{seed}", prompt=e.prompt,
                image=held[e.tags["style"], e.tags["object"], name], tags={**e.tags, "seed": str(seed)},
            )
            for seed, name in zip(self.config.goal_seeds, cycle(("test", "unseen")), strict=False)
            for e in found["concept"]
        ]  # fmt: skip

    # ---- the full edition ------------------------------------------------------------------------------------------
    def _task(self, root: Path) -> Mapping[str, Split]:
        folder = self._folder(root)
        task, phrase = folder.name, PHRASES.get(folder.name, folder.name.replace("_", " "))
        tags = {"task": task, "kind": "concept", "concept": task, "phrase": phrase, "surrogate": ""}
        label = self.config.label or LABELS.get(task, "")
        if not label and task not in JUDGES:
            raise UserError(
                f"benchmark.label: nothing says what the judge must see in pictures of task {task!r}.\n"
                "Set benchmark.label to an ImageNet class (name or number), or benchmark.judge to another judge."
            )
        tags |= {"style" if task == "vangogh" else "object": label} if label else {}
        goals = goals_of(folder, tags, name=task)
        if self.config.check_counts and task in SIZES and len(goals) > SIZES[task]:
            raise UserError(f"{folder / PROMPTS}: {len(goals)} prompts, the published file has {SIZES[task]}.\n"
                            "Set benchmark.check_counts=false for prompts of your own.")  # fmt: skip
        concept = Example(id=f"unlearndiffatk/concept/{task}", prompt=phrase, target="", tags=tags)
        others = self._others(root)
        groups = {
            "goals": (Role.FORGET, goals), "forget": (Role.FORGET, goals), "concept": (Role.FORGET, [concept]),
            "anchor": (Role.RETAIN, others), "retain": (Role.RETAIN, others),
        }  # fmt: skip
        return {name: Split(name, role, tuple(examples)) for name, (role, examples) in groups.items()}

    def _folder(self, root: Path) -> Path:
        known = sorted(file.parent.name for file in root.glob(f"*/{PROMPTS}")) if root.is_dir() else []
        if not known:
            raise UserError(f"{root}: holds no data set of prompts. Needed: {self.card.source.what}.\n"
                            f"{self.card.source.get}")  # fmt: skip
        if self.config.task not in known:
            told = self.config.task
            what = f"there is no {told!r}" if told else f"say which (benchmark.task={known[0]})"
            raise UserError(f"benchmark.task: {root} holds data sets of prompts, {what}. {near_miss(told, known)}")
        return root / self.config.task

    def _others(self, root: Path) -> list[Example]:
        file = root / COCO
        rows = read_prompts(file)[:KEPT] if file.is_file() else []
        return [Example(id=f"unlearndiffatk/coco/{row.case}", prompt=row.prompt, tags={}) for row in rows]


def _named(judge: str | dict[str, Any]) -> dict[str, Any]:
    return {"name": judge} if isinstance(judge, str) else dict(judge)
