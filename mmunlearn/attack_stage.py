"""Attacks on a finished run: the clean figures, each budget's figures and the retrained model's, stored with the run.

    RUN/attacks/<title>/attack.json     settings and the hash of what is attacked; written first
    RUN/attacks/<title>/budgets/<k>/    responses by split and cost of one tampered model; complete or absent
    RUN/attacks/<title>/gradient_norms/ norms by split where a membership attack looks at gradients
    RUN/attacks/<title>/control-<h>/    the same for the retrained model
    RUN/attacks/<title>/results.json    written last

The same command again makes what is missing. Nothing outside `RUN/attacks` and `RUN/responses` is written.
"""

import json
import logging
import math
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from mmunlearn import registry
from mmunlearn.atomic import new_folder, write_json
from mmunlearn.attack_target import Target, open_target
from mmunlearn.attacks.base import Access, Attack, Cost, Metered, RowsAttack, WeightAttack
from mmunlearn.attacks.base_goals import GoalAttack
from mmunlearn.errors import UserError, near_miss
from mmunlearn.evaluate import make_metric, respond, rows_of
from mmunlearn.handle import Decoding, Response
from mmunlearn.intervals import normal, wilson
from mmunlearn.metrics.base import Sight, Value
from mmunlearn.metrics.top1 import Top1
from mmunlearn.records import Rows, Shard
from mmunlearn.run import Run
from mmunlearn.settings import Settings, differences, digest, plain

log = logging.getLogger(__name__)


class AttackOptions(Settings):
    """What every attack of one command shares.

    splits: whose figures are shown. members, others: what membership attacks tell apart (the first of `others` that the
    data has). membership: metrics of the two that are followed over the budgets of weight attacks.
    shadows: shadow models of the bank that is trained (or found in the cache) for attacks that need one and name none.
    gradient_norm: membership also by the norm of each example's gradient over all weights, a backward pass an example.
    relearn_time: also count epochs until the forgotten is back (relearn; needs the original, its ratio AIN a control).
    """

    splits: tuple[str, ...] = ("forget", "test", "retain")
    members: str = "forget"
    others: tuple[str, ...] = ("unseen", "test")
    membership: tuple[str, ...] = ("mia", "auc")
    batch_size: int = Field(256, ge=1)
    shadows: int = Field(0, ge=0, multiple_of=2)
    gradient_norm: bool = True
    relearn_time: bool = False


@dataclass(frozen=True)
class Stage:
    """One attack on one model under one set of options."""

    attack: Attack
    title: str
    options: AttackOptions

    @property
    def how(self) -> Decoding:
        """How responses are made."""
        return Decoding(batch_size=self.options.batch_size)


def attack_run(
    path: Path,
    attacks: Sequence[str | Mapping[str, Any]],
    options: AttackOptions | None = None,
    *,
    control: Path | None = None,
    fresh: bool = False,
) -> list[dict[str, Any]]:
    """Make what is missing of `attacks` on the run at `path`; returns each attack's results.json content.

    attacks: names, or mappings with `name`, settings and optionally `as`. control: run of the retrained model.
    """
    from mmunlearn.pipeline import read_settings

    settings, options = read_settings(path), options or AttackOptions()
    banks: dict[bool, Path] = {}
    stages = [make_stage(_with_bank(wanted, path, settings.modality, options, banks), settings.modality, options)
              for wanted in attacks]  # fmt: skip
    with Run.open(path, settings) as run:
        target = open_target(path)
        other = open_target(control, target.data) if control is not None else None
        return [run_stage(stage, target, run, control=other, fresh=fresh) for stage in stages]


def _with_bank(
    wanted: str | Mapping[str, Any], path: Path, modality: str, options: AttackOptions, banks: dict[bool, Path]
) -> dict[str, Any]:
    """`wanted` as a mapping, with the path of a bank where its attack needs one and names none.

    banks: those of this command, by whether they are unlearned; one more is kept there.
    """
    content = {"name": wanted} if isinstance(wanted, str) else dict(wanted)
    cls: Any = registry.load("attacks", content.get("name", ""), modality)
    if not getattr(cls, "needs_bank", False) or content.get("bank"):
        return content
    if not options.shadows:
        name = content["name"]
        raise UserError(
            f"attack {name!r} needs a bank of shadow models.\n"
            f"Add options.shadows=16 to train that many (once; they are cached), or give {name}.bank=FILE."
        )
    from mmunlearn.shadows import run_bank

    unlearned = cls.needs_unlearned_bank
    if unlearned not in banks:
        banks[unlearned] = run_bank(path, models=options.shadows, unlearn=unlearned)
    return content | {"bank": str(banks[unlearned])}


def make_stage(wanted: str | Mapping[str, Any], modality: str, options: AttackOptions) -> Stage:
    """The attack that `wanted` names, with its settings bound."""
    content = {"name": wanted} if isinstance(wanted, str) else dict(wanted)
    name = content.pop("name", "")
    title = content.pop("as", name)
    attack = registry.load("attacks", name, modality)(content)
    if isinstance(attack, GoalAttack):
        raise UserError(f"attack {name!r} changes inputs and needs goals; `mmunlearn attack` offers it per benchmark.")
    return Stage(attack, title, options)


def run_stage(
    stage: Stage, target: Target, run: Run, *, control: Target | None = None, fresh: bool = False
) -> dict[str, Any]:
    """One attack on one open run, resumed where it stopped; returns and stores its results."""
    folder = run.path / "attacks" / stage.title
    if fresh:
        shutil.rmtree(folder, ignore_errors=True)
    _claim(folder, stage, target)
    for name in _asked(stage, target):
        respond(run, target.handle, target.data[name], stage.how)
    clean = {name: rows for name in _asked(stage, target) if (rows := rows_of(run.path, name)) is not None}
    results: dict[str, Any] = {
        "schema": 1, "attack": stage.title, "name": stage.attack.name(), "access": stage.attack.access.name,
        "settings": plain(stage.attack.config), "options": plain(stage.options), "seed": target.seed,
        "target": target.about, "clean": _cells(_measures(stage, target, clean, target.seed)),
    }  # fmt: skip
    if isinstance(stage.attack, WeightAttack):
        results |= _weight_results(stage, target, folder, results["clean"])
        if control is not None:
            inner = _control_folder(folder, control)
            found = _weight_results(stage, control, inner, None)
            results["control"] = control.about | found
        if stage.options.relearn_time:
            results["relearn_time"] = _relearn_time(stage, target, control)
    else:
        results |= _rows_results(stage, target, clean, folder)
        if control is not None:
            inner = _control_folder(folder, control)
            answers = _control_rows(stage, control, inner)
            results["control"] = control.about | _rows_results(stage, control, answers, inner)
    write_json(folder / "results.json", results)
    return results


def _claim(folder: Path, stage: Stage, target: Target) -> None:
    """Refuse other settings than the stored ones; drop what was made of another model or other data."""
    identity = {"settings": plain(stage.attack.config), "options": plain(stage.options)}
    asked = _asked(stage, target)
    inputs = digest([target.about["weights"], target.seed, [target.data[name].fingerprint for name in asked]])
    file = folder / "attack.json"
    if file.is_file():
        stored = json.loads(file.read_text(encoding="utf-8"))
        changed = differences(stored["identity"], json.loads(json.dumps(identity)))
        if changed:
            raise UserError(
                f"{folder} was made with other settings ({'; '.join(changed[:3])}).\n"
                f"Give it another name ({stage.title}.as=…), or --fresh to replace it."
            )
        if stored["inputs"] == inputs:
            return
        shutil.rmtree(folder)
    write_json(file, {"identity": identity, "inputs": inputs, "attack": stage.attack.name()})


def _control_folder(folder: Path, control: Target) -> Path:
    return folder / f"control-{control.about['weights'][:12]}"


def _asked(stage: Stage, target: Target) -> list[str]:
    """Splits whose responses this attack looks at."""
    options = stage.options
    wanted = [*options.splits, options.members, _others(stage, target)]
    missing = [name for name in (*options.splits, options.members) if name not in target.data]
    if missing:
        raise UserError(f"options: split {missing[0]!r} is not in this data. {near_miss(missing[0], target.data)}")
    return list(dict.fromkeys(name for name in wanted if name))


def _others(stage: Stage, target: Target) -> str:
    return next((name for name in stage.options.others if name in target.data), "")


# ---- attacks on weights --------------------------------------------------------------------------------------------
def _weight_results(stage: Stage, target: Target, folder: Path, clean: Mapping[str, Any] | None) -> dict[str, Any]:
    """The curve over the budgets and, as cells, the budget that is worst for the defender."""
    attack = stage.attack
    assert isinstance(attack, WeightAttack)
    curve: list[dict[str, Any]] = []
    for label, cost, answers in _budgets(stage, target, folder):
        values = _measures(stage, target, answers, target.seed)
        curve.append({"budget": label, "cost": asdict(cost), "cells": _cells(values)})
    worst = max(curve, key=lambda point: _recovered(point["cells"]))
    base = curve[0]["cells"] if clean is None else clean
    cells = {f"{stage.title}/{name}": cell | {"clean": base.get(name, {}).get("value")}
             for name, cell in worst["cells"].items()}  # fmt: skip
    return {"cells": cells, "worst": worst["budget"], "cost": curve[-1]["cost"], "curve": curve}


def _recovered(cells: Mapping[str, Mapping[str, Any]]) -> float:
    """How much of the forgotten shows: accuracy on forget examples, those that the attacker did not use if any."""
    for name in ("forget_held_out_top1", "forget_top1"):
        value = cells.get(name, {}).get("value")
        if value is not None:
            return value
    loss = cells.get("forget_nll", {}).get("value")
    return -math.inf if loss is None else -loss


def _budgets(stage: Stage, target: Target, folder: Path) -> Iterator[tuple[str, Cost, dict[str, Rows]]]:
    """Every budget's responses: stored ones first, then the missing ones, each stored as a whole."""
    attack = stage.attack
    assert isinstance(attack, WeightAttack)
    place = folder / "budgets"
    stored = {_about(path)["budget"]: path for path in sorted(place.glob("*")) if (path / "cost.json").is_file()}
    asked = {name: target.data[name] for name in dict.fromkeys((*_asked(stage, target), *attack.needed()))
             if name in target.data}  # fmt: skip
    if not (folder / "budgets.json").is_file():
        scratch = Run.scratch(folder / "work", target.seed)
        scratch.train = target.train
        number = len(stored)
        for label, cost, answers in attack.run(target.handle, asked, scratch, stage.how, have=set(stored)):
            path = place / f"{number:03d}"
            with new_folder(path) as temporary:
                _store(temporary, label, cost, answers)
            stored[label] = path
            number += 1
            log.info("%s: %s done", stage.title, label)
        shutil.rmtree(folder / "work", ignore_errors=True)
        write_json(folder / "budgets.json", list(stored))
    for label in json.loads((folder / "budgets.json").read_text(encoding="utf-8")):
        path = stored[label]
        found = {name: rows for name in asked if (rows := rows_of(path, name)) is not None}
        yield label, Cost(**_about(path)["cost"]), found


def _about(path: Path) -> dict[str, Any]:
    return json.loads((path / "cost.json").read_text(encoding="utf-8"))


def _store(folder: Path, label: str, cost: Cost, answers: Mapping[str, Sequence[Response]]) -> None:
    for name, responses in answers.items():
        Shard(folder / "responses" / name).append({"id": r.id, **r.fields} for r in responses)
    write_json(folder / "cost.json", {"budget": label, "cost": asdict(cost)})


def _relearn_time(stage: Stage, target: Target, control: Target | None) -> dict[str, Any]:
    """Epochs until the forgotten is back, for the target and the control, and their ratio AIN (vision.md 5.4)."""
    from mmunlearn.attacks.relearn import Relearn, anamnesis, recovery_goal, relearn_epochs

    if not isinstance(stage.attack, Relearn):
        return {}
    if target.original is None:
        raise UserError(f"options.relearn_time: {target.path} names no original run (start) to compare with.")
    forget = target.data["forget"]
    rows = rows_of(target.original, "forget")
    if rows is None:
        raise UserError(f"options.relearn_time: {target.original} holds no responses to the forget split.")
    goal = recovery_goal(Top1().reduce(Sight(rows)).value)
    scratch = Run(target.path, {}, target.seed, target.train)  # for its seed and settings; nothing is written

    def epochs(which: Target) -> int:
        return relearn_epochs(which.handle, forget, scratch, goal_accuracy=goal, config=stage.attack.config)

    own = epochs(target)
    found: dict[str, Any] = {"goal_accuracy": goal, "epochs": own}
    if control is not None:
        reference = epochs(control)
        found |= {"control_epochs": reference, "ain": anamnesis(own, reference)}
    return found


# ---- attacks on rows -----------------------------------------------------------------------------------------------
def _rows_results(stage: Stage, target: Target, answers: Mapping[str, Rows], folder: Path) -> dict[str, Any]:
    """Cells of an attack on answers; it changes no model, so there is no clean figure but `clean`."""
    attack = stage.attack
    assert isinstance(attack, RowsAttack)
    sight, found = _sight(stage, target, answers), {}
    cost = Cost()
    if attack.uses_gradients() and stage.options.gradient_norm and next(target.handle.trainable(), None) is not None:
        sight, cost = _with_gradients(stage, target, sight, folder / "gradient_norms")
        found = {"access": Access.GRADIENTS.name}
    values = attack.measure(sight, target.seed)
    cells = {f"{stage.title}/{name}": cell | {"clean": None} for name, cell in _cells(values).items()}
    return {"cells": cells, "cost": asdict(cost), "curve": []} | found


def _with_gradients(stage: Stage, target: Target, sight: Sight, folder: Path) -> tuple[Sight, Cost]:
    """`sight` with the column `grad_norm` on both sides, kept under `folder`, and what making it has cost."""
    from mmunlearn.gradient_norms import with_gradient_norms

    meter, started = Metered(target.handle, Access.GRADIENTS), time.perf_counter()
    other = _others(stage, target)
    assert sight.against is not None  # _sight has found the other split
    inside = with_gradient_norms(sight.rows, meter, target.data[stage.options.members], folder / stage.options.members)
    outside = with_gradient_norms(sight.against, meter, target.data[other], folder / other)
    cost = Cost(meter.cost.queries, meter.cost.gradient_steps, time.perf_counter() - started)
    file = folder / "cost.json"
    if not file.is_file():
        write_json(file, asdict(cost))
    return replace(sight, rows=inside, against=outside), Cost(**json.loads(file.read_text(encoding="utf-8")))


def _sight(stage: Stage, target: Target, answers: Mapping[str, Rows]) -> Sight:
    other = _others(stage, target)
    if not other:
        raise UserError(f"options.others: none of {', '.join(stage.options.others)} is in this data.")
    return Sight(rows=answers[stage.options.members], against=answers[other])


def _control_rows(stage: Stage, control: Target, folder: Path) -> dict[str, Rows]:
    scratch = Run.scratch(folder, control.seed)
    for name in _asked(stage, control):
        respond(scratch, control.handle, control.data[name], stage.how)
    return {name: rows for name in _asked(stage, control) if (rows := rows_of(folder, name)) is not None}


# ---- figures -------------------------------------------------------------------------------------------------------
def _measures(stage: Stage, target: Target, answers: Mapping[str, Rows], seed: int) -> dict[str, Value]:
    """Accuracy and loss by split and by part of a split, and membership accuracy, of one model's answers."""
    values: dict[str, Value] = {}
    groups = {name: answers[name] for name in stage.options.splits if name in answers}
    if isinstance(stage.attack, WeightAttack):
        for part, ids in stage.attack.parts(target.data, seed).items():
            split = part.partition("_")[0]
            if ids and split in answers:
                wanted = set(ids)
                groups[part] = answers[split].take([i for i, key in enumerate(answers[split].ids) if key in wanted])
    for name, rows in groups.items():
        if "logits" in rows and "target" in rows:
            values[f"{name}_top1"] = accuracy(rows)
        if "nll" in rows and "count" in rows:
            values[f"{name}_nll"] = _mean(rows["nll"] / rows["count"])
    if isinstance(stage.attack, WeightAttack):
        values |= _membership(stage, target, answers)
    return values


def _membership(stage: Stage, target: Target, answers: Mapping[str, Rows]) -> dict[str, Value]:
    if not _others(stage, target):
        return {}
    sight = _sight(stage, target, answers)
    return {name: make_metric(name, target.modality)[0].reduce(sight) for name in stage.options.membership}


def accuracy(rows: Rows) -> Value:
    """Top-1 accuracy with a 95 % interval: Wilson's where each example is right or wrong, normal for label vectors."""
    value = Top1().reduce(Sight(rows))
    hits = value.value * value.n
    if value.n and rows["target"].ndim > 1 and rows["target"].shape[1] == 1:
        low, high = (float(end) for end in wilson(round(hits), value.n))
        return value._replace(low=low, high=high)
    return value


def _mean(values: np.ndarray) -> Value:
    n = len(values)
    stderr = float(values.std(ddof=1) / math.sqrt(n)) if n > 1 else None
    return Value(float(values.mean()) if n else math.nan, n, stderr)


def _cells(values: Mapping[str, Value]) -> dict[str, dict[str, Any]]:
    """Cells as JSON, with the ends of their 95 % intervals."""
    from mmunlearn.pipeline import cell_json

    cells = {}
    for name, value in values.items():
        low, high = value.low, value.high
        if low is None and value.stderr is not None and math.isfinite(value.stderr):
            low, high = normal(value.value, value.stderr)
        ends = {"low": low, "high": high}
        cells[name] = cell_json(value) | {k: None if v is None or math.isnan(v) else float(v) for k, v in ends.items()}
    return cells
