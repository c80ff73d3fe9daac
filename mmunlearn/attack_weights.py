"""Attacks on weights on a finished run: every budget's answers stored as a whole, judged, and the worst budget's cells.

<folder>/budgets/<k>/   responses (and pictures) by split and cost of one tampered model; complete or absent
<folder>/clean/         the untouched model's answers, where they are made otherwise than the run's own
<folder>/verdicts/      what the judge said of the untouched model's answers
"""

import json
import logging
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mmunlearn.atomic import new_folder, write_json
from mmunlearn.attack_figures import Hits, accuracy, cells, hits_of, mean, successes
from mmunlearn.attack_options import Question, Stage, spread
from mmunlearn.attack_rows import asked_splits, others_of, sight_of
from mmunlearn.attack_target import Target
from mmunlearn.attacks.base import Cost, WeightAttack, budget_folder
from mmunlearn.data import Split
from mmunlearn.errors import UserError
from mmunlearn.evaluate import graded, make_metric, respond, row_of
from mmunlearn.handle import Decoding, Response
from mmunlearn.judges.base import Item
from mmunlearn.metrics.base import Sight, Value
from mmunlearn.metrics.top1 import Top1
from mmunlearn.records import Rows, Shard
from mmunlearn.responses import images_folder, read_responses, rows_folder, rows_of
from mmunlearn.run import Run
from mmunlearn.settings import plain

log = logging.getLogger(__name__)
WORK = "work"
PREFERRED = ("success", "top1")  # of a split's cells: what says most about what comes back


@dataclass(frozen=True)
class Tampered:
    """One budget's model: its answers by split and what making it has cost."""

    label: str
    cost: Cost
    answers: Mapping[str, Rows]


def weight_results(stage: Stage, target: Target, folder: Path, run: Run | None) -> tuple[dict[str, Any], list[Hits]]:
    """Results, and which examples show the forgotten: of the untouched model first, then by budget.

    run: the target's own run, whose stored answers are used; None for a control, whose answers stay in `folder`.
    """
    question = Question(target, stage.options)
    untouched = clean_answers(stage, question, folder, run)
    clean = cells(measures(stage, question, untouched))
    curve: list[dict[str, Any]] = []
    hits = [_hits(stage, question, untouched)]
    for made in budgets(stage, question, folder):
        values = measures(stage, question, made.answers)
        curve.append({"budget": made.label, "cost": asdict(made.cost), "cells": cells(values)})
        hits.append(_hits(stage, question, made.answers))
    names = recovered_cells(question)
    worst = max(curve, key=lambda point: recovered(point["cells"], names))
    found = {f"{stage.title}/{name}": cell | {"clean": clean.get(name, {}).get("value")}
             for name, cell in worst["cells"].items()}  # fmt: skip
    shown = next((name for name in names if worst["cells"].get(name, {}).get("value") is not None), "")
    results = {
        "cells": found, "clean": clean, "worst": worst["budget"], "cost": curve[-1]["cost"], "curve": curve,
        "recovered": shown,
    }  # fmt: skip
    return results | (question.about() if _judged(question) else {}), hits


def recovered_cells(question: Question) -> tuple[str, ...]:
    """Cells that say how much of the forgotten shows, the best first: examples that the attacker did not use."""
    splits = tuple(dict.fromkeys((question.split, "forget")))
    return tuple(f"{split}{part}_{kind}" for kind in PREFERRED for split in splits for part in ("_held_out", ""))


def recovered(found: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> float:
    """The first of `names` that has a value; else less loss on the forget set is more."""
    for name in names:
        value = found.get(name, {}).get("value")
        if value is not None:
            return value
    loss = found.get("forget_nll", {}).get("value")
    return -math.inf if loss is None else -loss


# ---- answers -------------------------------------------------------------------------------------------------------
def asked(stage: Stage, question: Question) -> dict[str, Split]:
    """What every tampered model is asked, by split, each thinned out as the options say."""
    data, options = question.target.data, stage.options
    membership = {options.members, others_of(stage, question.target)} if options.membership else set()
    names = [name for name in asked_splits(stage, question.target) if name in {*options.splits, *membership}]
    names += ["forget", *([question.split] if _judged(question) else [])]
    return {name: spread(data[name], options.answers) for name in dict.fromkeys(names) if name in data}


def clean_answers(stage: Stage, question: Question, folder: Path, run: Run | None) -> dict[str, Rows]:
    """The untouched model's answers: the run's own where they are made the same way, else made under `folder`."""
    answers: dict[str, Rows] = {}
    for name, split in asked(stage, question).items():
        how = _how(question, name)
        own = run is not None and _told(how) == _told(question.stored(name))
        where = run if own and run is not None else Run.scratch(folder / "clean", question.target.seed)
        respond(where, question.target.handle, question.target.data[name] if own else split, how)
        answers.update(_judged_rows(question, where.path, split, folder / "verdicts" / name))
    return answers


def _how(question: Question, split: str) -> Decoding:
    """How tampered models answer; no text or picture is made that nobody judges."""
    how = question.decoding(split)
    silent = question.target.modality == "diffusion" and question.judge is None
    return replace(how, fields={**how.fields, "generate": False}) if silent else how


def _told(how: Decoding) -> list[Any]:
    return [how.max_new_tokens, how.temperature, plain(dict(how.fields))]


def budgets(stage: Stage, question: Question, folder: Path) -> Iterator[Tampered]:
    """Every budget's answers: stored ones first, then the missing ones, each stored as a whole."""
    attack, target, place = stage.attack, question.target, folder / "budgets"
    assert isinstance(attack, WeightAttack)
    stored = {_about(path)["budget"]: path for path in sorted(place.glob("*")) if (path / "cost.json").is_file()}
    wanted = asked(stage, question)
    given = {**wanted, **{name: target.data[name] for name in attack.needed() if name in target.data}}
    if not (folder / "budgets.json").is_file():
        scratch = Run.scratch(folder / WORK, target.seed)
        scratch.train = target.train
        pictures = folder / WORK / "pictures"
        how = {name: replace(_how(question, name), folder=pictures) for name in wanted}
        number = len(stored)
        for label, cost, answers in attack.run(target.handle, given, scratch, how, have=set(stored), ask=wanted):
            path = place / f"{number:03d}"
            with new_folder(path) as temporary:
                _store(temporary, label, cost, answers, pictures / budget_folder(label))
            stored[label] = path
            number += 1
            log.info("%s: %s done", stage.title, label)
        shutil.rmtree(folder / WORK, ignore_errors=True)
        write_json(folder / "budgets.json", list(stored))
    for label in json.loads((folder / "budgets.json").read_text(encoding="utf-8")):
        path = stored[label]
        graded: dict[str, Rows] = {}
        for name, split in wanted.items():
            graded.update(_judged_rows(question, path, split, path / "verdicts" / name))
        yield Tampered(label, Cost(**_about(path)["cost"]), graded)


def _about(path: Path) -> dict[str, Any]:
    return json.loads((path / "cost.json").read_text(encoding="utf-8"))


def _store(
    folder: Path, label: str, cost: Cost, answers: Mapping[str, Sequence[Response]], pictures: Path
) -> None:  # fmt: skip
    for name, responses in answers.items():
        Shard(rows_folder(folder, name)).append(row_of(r) for r in responses)
        if (pictures / name).is_dir():
            images_folder(folder, name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(pictures / name, images_folder(folder, name))
    write_json(folder / "cost.json", {"budget": label, "cost": asdict(cost)})


def _judged(question: Question) -> bool:
    """Whether answers need a judge: a class is right or wrong, a text or a picture is not."""
    return question.target.modality not in ("vision", "tiny") and question.judge is not None


def _judged_rows(question: Question, place: Path, split: Split, verdicts: Path) -> dict[str, Rows]:
    """The stored answers to `split` with the column `value` where they are texts or pictures and somebody judges."""
    rows = {row["id"]: row for row in read_responses(place, split.name)}
    examples = [example for example in split if example.id in rows]
    if not examples:
        return {}
    chosen = [rows[example.id] for example in examples]
    if _judged(question) and any("text" in row or "image" in row for row in chosen):
        assert question.judge is not None
        items = [Item(e, {k: v for k, v in row.items() if k != "id"}) for e, row in zip(examples, chosen, strict=True)]
        values = graded(verdicts, question.judge, items)
        chosen = [row | {"value": v.value} for row, v in zip(chosen, values, strict=True)]
    return {split.name: Rows.of(chosen).sorted()}


# ---- figures -------------------------------------------------------------------------------------------------------
def _groups(stage: Stage, question: Question, answers: Mapping[str, Rows]) -> dict[str, Rows]:
    """Answers by split that is shown and by part of a split that the attacker used or did not."""
    attack, data = stage.attack, question.target.data
    assert isinstance(attack, WeightAttack)
    names = dict.fromkeys((*stage.options.splits, *([question.split] if _judged(question) else [])))
    groups = {name: answers[name] for name in names if name in answers}
    for part, ids in attack.parts(data, question.target.seed).items():
        split, _, rest = part.partition("_")
        for name in dict.fromkeys((split, *([question.split] if _judged(question) else []))):
            if not ids or name not in answers or not set(data[name].ids) <= set(data[split].ids):
                continue
            wanted = set(ids)
            groups[f"{name}_{rest}"] = answers[name].take([i for i, k in enumerate(answers[name].ids) if k in wanted])
    return groups


def measures(stage: Stage, question: Question, answers: Mapping[str, Rows]) -> dict[str, Value]:
    """Success, accuracy and loss by split and part of a split, and membership, of one model's answers."""
    values: dict[str, Value] = {}
    for name, rows in _groups(stage, question, answers).items():
        if "value" in rows:
            values[f"{name}_success"] = successes(rows["value"])
        if "logits" in rows and "target" in rows:
            values[f"{name}_top1"] = accuracy(rows)
        if "nll" in rows and "count" in rows:
            values[f"{name}_nll"] = mean(rows["nll"] / rows["count"])
    if stage.options.membership and (sight := sight_of(stage, question.target, answers)) is not None:
        for name in stage.options.membership:
            values[name] = make_metric(name, question.target.modality)[0].reduce(sight)
    return values


def _hits(stage: Stage, question: Question, answers: Mapping[str, Rows]) -> Hits:
    """Which examples show the forgotten, of the first group that says most about it."""
    groups = _groups(stage, question, answers)
    for name in recovered_cells(question):
        rows = groups.get(name.rpartition("_")[0])
        if rows is not None and len(rows) and (found := hits_of(rows)):
            return found
    return {}


def relearn_goal(stage: Stage, target: Target) -> float | None:
    """The accuracy at which the forgotten is back (vision.md 5.4); None where nobody asks how long that takes."""
    from mmunlearn.attacks.relearn import Relearn, recovery_goal

    if not stage.options.relearn_time or not isinstance(stage.attack, Relearn):
        return None
    if target.original is None:
        raise UserError(f"options.relearn_time: {target.path} names no original run (start) to compare with.")
    rows = rows_of(target.original, "forget")
    if rows is None:
        raise UserError(f"options.relearn_time: {target.original} holds no responses to the forget split.")
    if any(name not in rows for name in Top1.columns):
        raise UserError(
            f"options.relearn_time: compares top-1 accuracy, which runs of {target.modality} do not have.\n"
            "Leave it out: the budgets of relearn.steps show how fast answers come back."
        )
    return recovery_goal(Top1().reduce(Sight(rows)).value)


def relearn_time(stage: Stage, target: Target, control: Target | None, goal: float) -> dict[str, Any]:
    """Epochs until the forgotten is back, for the target and the control, and their ratio AIN (vision.md 5.4)."""
    from mmunlearn.attacks.relearn import anamnesis, relearn_epochs

    forget = target.data["forget"]
    scratch = Run(target.path, {}, target.seed, target.train)  # for its seed and settings; nothing is written

    def epochs(which: Target) -> int:
        return relearn_epochs(which.handle, forget, scratch, goal_accuracy=goal, config=stage.attack.config)

    own = epochs(target)
    found: dict[str, Any] = {"goal_accuracy": goal, "epochs": own}
    if control is not None:
        reference = epochs(control)
        found |= {"control_epochs": reference, "ain": anamnesis(own, reference)}
    return found
