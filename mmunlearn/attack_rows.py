"""Attacks on answers on a finished run: figures from stored responses, and norms of gradients where they are asked."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mmunlearn.atomic import write_json
from mmunlearn.attack_figures import accuracy, cells
from mmunlearn.attack_options import Question, Stage
from mmunlearn.attack_target import Target
from mmunlearn.attacks.base import Access, Cost, Metered, RowsAttack
from mmunlearn.errors import UserError, near_miss
from mmunlearn.evaluate import respond
from mmunlearn.metrics.base import Sight
from mmunlearn.records import Rows
from mmunlearn.responses import rows_of
from mmunlearn.run import Run


def rows_results(stage: Stage, target: Target, folder: Path, run: Run | None) -> dict[str, Any]:
    """Cells of an attack on answers; it changes no model, so there is no clean figure beside but the accuracy.

    run: the target's own run, whose stored answers are used; None for a control, whose answers stay in `folder`.
    """
    attack = stage.attack
    assert isinstance(attack, RowsAttack)
    answers = _answers(stage, target, run or Run.scratch(folder, target.seed))
    sight, found = _insisted(stage, target, answers), {}
    cost = Cost()
    if attack.uses_gradients() and stage.options.gradient_norm and next(target.handle.trainable(), None) is not None:
        sight, cost = _with_gradients(stage, target, sight, folder / "gradient_norms")
        found = {"access": Access.GRADIENTS.name}
    values = attack.measure(sight, target.seed)
    made = {f"{stage.title}/{name}": cell | {"clean": None} for name, cell in cells(values).items()}
    clean = {f"{name}_top1": accuracy(rows) for name in stage.options.splits
             if (rows := answers.get(name)) is not None and "logits" in rows and "target" in rows}  # fmt: skip
    return {"cells": made, "clean": cells(clean), "cost": asdict(cost), "curve": []} | found


def asked_splits(stage: Stage, target: Target) -> list[str]:
    """Splits whose responses attacks on answers and on weights look at."""
    options = stage.options
    # What nobody named need not be there: not every benchmark has the default's splits.
    named = options.splits if "splits" in options.model_fields_set else [n for n in options.splits if n in target.data]
    wanted = [*named, options.members, others_of(stage, target)]
    missing = [name for name in (*named, options.members) if name not in target.data]
    if missing:
        raise UserError(f"options: split {missing[0]!r} is not in this data. {near_miss(missing[0], target.data)}")
    return list(dict.fromkeys(name for name in wanted if name))


def others_of(stage: Stage, target: Target) -> str:
    """The split of those who are no members; "" where the data has none of the options'."""
    return next((name for name in stage.options.others if name in target.data), "")


def sight_of(stage: Stage, target: Target, answers: Mapping[str, Rows]) -> Sight | None:
    """Members and others as membership attacks see them; None where the data has no others, or rows no losses."""
    other, members = others_of(stage, target), stage.options.members
    if not other or any(name not in answers or "nll" not in answers[name] for name in (other, members)):
        return None
    return Sight(rows=answers[members], against=answers[other])


def _insisted(stage: Stage, target: Target, answers: Mapping[str, Rows]) -> Sight:
    other = others_of(stage, target)
    if not other:
        raise UserError(f"options.others: none of {', '.join(stage.options.others)} is in this data.")
    return Sight(rows=answers[stage.options.members], against=answers[other])


def _answers(stage: Stage, target: Target, run: Run) -> dict[str, Rows]:
    question = Question(target, stage.options)
    names = asked_splits(stage, target)
    for name in names:
        respond(run, target.handle, target.data[name], question.stored(name))
    return {name: rows for name in names if (rows := rows_of(run.path, name)) is not None}


def _with_gradients(stage: Stage, target: Target, sight: Sight, folder: Path) -> tuple[Sight, Cost]:
    """`sight` with the column `grad_norm` on both sides, kept under `folder`, and what making it has cost."""
    from mmunlearn.gradient_norms import with_gradient_norms

    meter, started = Metered(target.handle, Access.GRADIENTS), time.perf_counter()
    other = others_of(stage, target)
    assert sight.against is not None  # _insisted has found the other split
    inside = with_gradient_norms(sight.rows, meter, target.data[stage.options.members], folder / stage.options.members)
    outside = with_gradient_norms(sight.against, meter, target.data[other], folder / other)
    cost = Cost(meter.cost.queries, meter.cost.gradient_steps, time.perf_counter() - started)
    file = folder / "cost.json"
    if not file.is_file():
        write_json(file, asdict(cost))
    return replace(sight, rows=inside, against=outside), Cost(**json.loads(file.read_text(encoding="utf-8")))
