"""Attacks on goals on a finished run: outcomes stored goal by goal, success at each budget with its interval."""

import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from mmunlearn import attack_outcomes as outcomes
from mmunlearn.attack_figures import HIT, Hits, cells, mean, share
from mmunlearn.attack_options import Question, Stage
from mmunlearn.attack_target import Target
from mmunlearn.attacks.base import Cost
from mmunlearn.attacks.base_goals import GoalAttack, Outcome
from mmunlearn.errors import UserError

log = logging.getLogger(__name__)
STEPS = (1, 2, 5)  # budgets at which success is shown: these times powers of ten
SUCCESS = "success"


def goal_results(stage: Stage, target: Target, folder: Path) -> dict[str, Any]:
    """Cells, cost and curve of an attack on goals; goals that `folder` holds are not attacked again."""
    question = Question(target, stage.options)
    found, without = _made(stage, question, folder)
    scored = [o for o in found if not math.isnan(outcomes.success_at(o))]
    unscored = len(found) - len(scored)
    clean = share([o.clean.value >= HIT for o in scored], unscored)
    at = {b: _success(scored, b, unscored) for b in budgets(max((len(o.tries) for o in found), default=0))}
    values = {SUCCESS: _success(scored, None, unscored)} | {f"{SUCCESS}_at_{b}": value for b, value in at.items()}
    values["candidates"] = mean(np.array([float(len(o.tries)) for o in found]))
    total = Cost(
        sum(o.cost.queries for o in found), sum(o.cost.gradient_steps for o in found),
        sum(o.cost.seconds for o in found),
    )  # fmt: skip
    cost, n = asdict(total), max(1, len(found))
    made = cells(values)
    cells_of = {f"{stage.title}/{k}": v | {"clean": clean.value if clean.n else None} for k, v in made.items()}
    cells_of[f"{stage.title}/candidates"]["clean"] = None
    curve = [
        {"budget": f"{b} candidate{'s' if b != 1 else ''}", "cost": cost, "cells": {SUCCESS: made[f"{SUCCESS}_at_{b}"]}}
        for b in at
    ]
    asked = {"asked": len(found), "unscored": unscored} | ({"without_candidate": without} if without else {})
    return {
        "cells": cells_of, "clean": cells({SUCCESS: clean}), "cost": cost, "curve": curve, **question.about(),
        "cost_per_goal": {name: value / n for name, value in cost.items()}, "goals_attacked": asked,
        "worst": curve[-1]["budget"] if curve else "",
    }  # fmt: skip


def goal_hits(stage: Stage, target: Target, folder: Path) -> tuple[Hits, Hits]:
    """Which goals' clean answers, and which goals under attack, show the forgotten; unscored goals are absent."""
    goals = outcomes.by_id(Question(target, stage.options).goals)
    stored = outcomes.read(folder, goals).values()
    scored = [o for o in stored if not math.isnan(outcomes.success_at(o))]
    clean = {o.id: o.clean.value >= HIT for o in scored}
    return clean, {o.id: outcomes.success_at(o) >= HIT for o in scored}


def budgets(most: int) -> list[int]:
    """1, 2, 5, 10, 20, 50 … below `most`, and `most` itself.

    >>> budgets(12), budgets(1), budgets(0)
    ([1, 2, 5, 10, 12], [1], [])
    """
    found = [step * 10**power for power in range(len(str(most))) for step in STEPS]
    return [b for b in found if b < most] + ([most] if most else [])


def _success(scored: Sequence[Outcome], budget: int | None, unscored: int) -> Any:
    return share([outcomes.success_at(o, budget) >= HIT for o in scored], unscored)


def _made(stage: Stage, question: Question, folder: Path) -> tuple[list[Outcome], int]:
    """Outcomes of all goals in their order, the missing ones made; and how many goals have no candidate to ask."""
    attack, target = stage.attack, question.target
    assert isinstance(attack, GoalAttack)
    goals = outcomes.by_id(question.goals)
    if not goals:
        raise UserError(f"options.goals: split {question.split!r} of {target.path.name} is empty.")
    judge = question.required_judge()
    without = 0
    if stage.options.candidates_from:
        from mmunlearn.attack_replay import winners_as_attack

        attack, kept = winners_as_attack(Path(stage.options.candidates_from), attack, goals)
        without, goals = len(goals) - len(kept), kept
    outcomes.drop_unanswered(folder)
    have = set(outcomes.read(folder, goals))
    how = replace(question.decoding(question.split), folder=folder / outcomes.PICTURES)
    for outcome in attack.run(target.handle, list(goals.values()), judge, how, target.seed, have):
        outcomes.store(folder, outcome, goals[outcome.id])
        log.info("%s: %s %s", stage.title, outcome.id, "found" if outcomes.success_at(outcome) >= HIT else "not found")
    stored = outcomes.read(folder, goals)
    return [stored[key] for key in goals], without
