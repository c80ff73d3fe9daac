"""Attacks on goals as a part of evaluation: their outcomes are rows like any other, one a goal, and metrics read them.

A plan of a card whose `attack` pursues goals runs it on the finished model after the responses; what came of each goal
lies in `RUN/outcomes/<plan>` and is made once: the same command again does the goals that are missing.
"""

import logging
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmunlearn import registry
from mmunlearn.atomic import write_text
from mmunlearn.attacks.base_goals import GoalAttack, Outcome
from mmunlearn.card_tables import EvaluationPlan
from mmunlearn.data import Split
from mmunlearn.errors import UserError
from mmunlearn.handle import Decoding, Handle, weights_digest
from mmunlearn.records import Rows, Shard, read_rows
from mmunlearn.run import Run
from mmunlearn.settings import digest, plain

log = logging.getLogger(__name__)

INPUTS = "inputs"


def goal_attack(plan: EvaluationPlan, modality: str) -> GoalAttack:
    """The attack of a plan with goals. Raises UserError where it pursues none."""
    settings = dict(plan.attack or {})
    attack = registry.load("attacks", settings.pop("name", ""), modality)(settings)
    if not isinstance(attack, GoalAttack):
        raise UserError(f"evaluation {plan.name!r}: {attack.name()} pursues no goals. Leave `goals` out.")
    return attack


def pursue(run: Run, plan: EvaluationPlan, handle: Handle, split: Split, how: Decoding, modality: str) -> None:
    """Attack the goals of `split` that have no outcome yet; other weights, goals or settings start afresh."""
    attack = goal_attack(plan, modality)
    judge = registry.load("judges", plan.judge_name, modality)(plan.judge_settings)
    told = [how.max_new_tokens, how.temperature, plain(dict(how.fields)), plan.judge]
    content = [plan.attack, plain(attack.config), weights_digest(handle.module), handle.beside_weights()]
    inputs = digest([content, split.fingerprint, told, run.seed])
    folder = outcomes_folder(run.path, plan)
    marker = folder / INPUTS
    if not marker.is_file() or marker.read_text(encoding="utf-8") != inputs:
        shutil.rmtree(folder, ignore_errors=True)
        write_text(marker, inputs)
    have = {row["id"] for row in read_rows(folder)}
    shard, waiting = Shard(folder), list[dict[str, Any]]()
    for outcome in attack.run(handle, split.examples, judge, how, run.seed, have):
        waiting.append(_row(outcome))
        if len(waiting) == attack.config.together:
            shard.append(waiting)
            waiting = []
    shard.append(waiting)


def outcomes_folder(run: Path, plan: EvaluationPlan) -> Path:
    """Where a plan's outcomes lie."""
    return run / "outcomes" / plan.name


def outcomes(run: Path, plan: EvaluationPlan) -> Rows | None:
    """Outcomes as rows: success (greatest verdict of all tries), clean, candidates (how many tries), tries (verdicts in
    order of promise), queries, gradient_steps, seconds; None where the attack was not run."""
    rows = read_rows(outcomes_folder(run, plan))
    if not rows:
        return None
    return Rows.of([{name: v for name, v in row.items() if name not in ("texts", "origins")} for row in rows]).sorted()


def _row(outcome: Outcome) -> dict[str, Any]:
    values = [_number(t.verdict.value) for t in outcome.tries]
    return {
        "id": outcome.id, "success": _number(outcome.success_at(len(outcome.tries))),
        "clean": _number(outcome.clean.value), "candidates": len(outcome.tries), "tries": values,
        "origins": [t.origin for t in outcome.tries],
        "texts": [str(t.answer.get("text", t.verdict.raw)) for t in outcome.tries],
        "queries": outcome.cost.queries, "gradient_steps": outcome.cost.gradient_steps,
        "seconds": outcome.cost.seconds,
    }  # fmt: skip


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def pursue_all(run: Run, plans: Sequence[EvaluationPlan], handle: Handle, data: Any, how: Any, modality: str) -> None:
    """Every plan's attack on goals. data: splits by name; how: split name -> Decoding."""
    for plan in plans:
        if plan.goals:
            log.info("%s: attack %s", run.path.name, plan.name)
            pursue(run, plan, handle, data[plan.split], how(plan.split), modality)
