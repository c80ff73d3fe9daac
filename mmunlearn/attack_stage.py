"""Attacks on a finished run: the clean figures, each budget's figures and the retrained model's, stored with the run.

    RUN/attacks/<title>/attack.json     settings and the hash of what is attacked; written first
    RUN/attacks/<title>/goals/          outcomes goal by goal (mmunlearn.attack_outcomes)
    RUN/attacks/<title>/budgets/<k>/    answers and cost of one tampered model (mmunlearn.attack_weights)
    RUN/attacks/<title>/gradient_norms/ norms by split where a membership attack looks at gradients
    RUN/attacks/<title>/control-<h>/    the same for the retrained model
    RUN/attacks/<title>/results.json    written last

The same command again makes what is missing. Nothing outside `RUN/attacks` and `RUN/responses` is written.
"""

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmunlearn import registry
from mmunlearn.atomic import new_folder, write_json
from mmunlearn.attack_figures import Hits, difference, leak
from mmunlearn.attack_goals import goal_hits, goal_results
from mmunlearn.attack_options import AttackOptions, Question, Stage
from mmunlearn.attack_rows import asked_splits, rows_results
from mmunlearn.attack_target import Target, first_start, open_target
from mmunlearn.attack_weights import relearn_goal, relearn_time, weight_results
from mmunlearn.attacks.base import ORIGINAL, WeightAttack
from mmunlearn.attacks.base_goals import GoalAttack
from mmunlearn.cards import Card
from mmunlearn.data import Split
from mmunlearn.errors import UserError
from mmunlearn.handle import Handle
from mmunlearn.run import Run
from mmunlearn.settings import build, differences, digest, plain

log = logging.getLogger(__name__)

__all__ = ["AttackOptions", "Stage", "attack_run", "make_stage", "run_stage"]

# What decides nothing about a stored part: how fast it is made, how many goals there are.
FREE = {"batch_size", "limit", "together"}
OF_GOALS = {"goals", "judge", "decoding", "candidates_from"}
Wanted = str | Mapping[str, Any]


def attack_run(
    path: Path,
    attacks: Sequence[Wanted],
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
    filled = [_with_original(_with_bank(wanted, path, settings.modality, options, banks), path, settings.modality)
              for wanted in attacks]  # fmt: skip
    stages = [make_stage(wanted, settings.modality, options) for wanted in filled]
    with Run.open(path, settings) as run:
        target = open_target(path)
        other = open_target(control, target.data) if control is not None else None
        return [run_stage(stage, target, run, control=other, fresh=fresh) for stage in stages]


def _with_bank(
    wanted: Wanted, path: Path, modality: str, options: AttackOptions, banks: dict[bool, Path]
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


def attack_own(run: Run, settings: Any, card: Card, handle: Handle, data: Mapping[str, Split]) -> dict[str, Any]:
    """The attack that an open run's settings name, on its model that is about to be finished; as `attack_run`."""
    options = AttackOptions(limit=settings.evaluate.limit)
    stage = make_stage(_with_original(settings.attack, run.path, settings.modality), settings.modality, options)
    target = Target(
        run.path, handle, data, settings.modality, settings.seed, settings.train, None, settings, card,
    )  # fmt: skip
    return run_stage(stage, target, run)


def _with_original(wanted: Wanted, path: Path, modality: str) -> dict[str, Any]:
    """`wanted` with the folder of the model before unlearning where its attack asks for one and names none: what the
    run's chain of starts begins with."""
    content = {"name": wanted} if isinstance(wanted, str) else dict(wanted)
    cls: Any = registry.load("attacks", content.get("name", ""), modality)
    fields = [name for name, field in cls.Config.model_fields.items() if ORIGINAL in field.metadata]
    missing = [name for name in fields if not content.get(name)]
    return content | {name: str(first_start(path)) for name in missing} if missing else content


def make_stage(wanted: Wanted, modality: str, options: AttackOptions) -> Stage:
    """The attack that `wanted` names, with its settings bound; candidates of another run get a title of their own."""
    content = {"name": wanted} if isinstance(wanted, str) else dict(wanted)
    name = content.pop("name", "")
    title = content.pop("as", None)
    attack = registry.load("attacks", name, modality)(content)
    if options.candidates_from and not isinstance(attack, GoalAttack):
        raise UserError(f"options.candidates_from: attack {name!r} has no candidates. Name one that changes inputs.")
    if title is None:
        title = f"{name}-from-{_source_name(Path(options.candidates_from))}" if options.candidates_from else name
    return Stage(attack, title, options)


def _source_name(place: Path) -> str:
    """The run's name in the path of a run or of an attack on it."""
    place = place.absolute()
    return place.parent.parent.name if place.parent.name == "attacks" else place.name


def run_stage(
    stage: Stage, target: Target, run: Run, *, control: Target | None = None, fresh: bool = False
) -> dict[str, Any]:
    """One attack on one open run, resumed where it stopped; returns and stores its results.

    The control is attacked with the target's seed, so that both meet the same attacker.
    """
    folder = run.path / "attacks" / stage.title
    if kind_of(stage) == "goals":
        Question(target, stage.options).required_judge()  # said before anything is written
    goal = relearn_goal(stage, target)
    if fresh:
        shutil.rmtree(folder, ignore_errors=True)
    _claim(folder, stage, target)
    results: dict[str, Any] = {
        "schema": 2, "attack": stage.title, "name": stage.attack.name(), "access": stage.attack.access.name,
        "kind": kind_of(stage), "settings": plain(stage.attack.config), "options": plain(stage.options),
        "seed": target.seed, "target": target.about,
    }  # fmt: skip
    found, hits = _attacked(stage, target, folder, run)
    results |= found
    if control is not None:
        control = replace(control, seed=target.seed)
        inner = folder / f"control-{control.about['weights'][:12]}"
        _take_control(folder, inner)
        other, other_hits = _attacked(stage, control, inner, None)
        results["control"] = control.about | other
        results |= _beside_control(results, hits, other_hits) | {"teaches": stage.attack.teaches()}
    if goal is not None:
        results["relearn_time"] = relearn_time(stage, target, control, goal)
    write_json(folder / "results.json", results)
    return results


def _take_control(folder: Path, inner: Path) -> None:
    """Copy what another run beside this one has found of the same control with the same attack on the same data."""
    if inner.exists():
        return
    mine = json.loads((folder / "attack.json").read_text(encoding="utf-8"))
    runs = folder.absolute().parents[1].parent
    for other in sorted(runs.glob(f"*/attacks/{folder.name}")):
        stored = other / "attack.json"
        if other == folder.absolute() or not (other / "results.json").is_file() or not (other / inner.name).is_dir():
            continue
        theirs = json.loads(stored.read_text(encoding="utf-8"))
        if all(theirs.get(name) == mine[name] for name in ("identity", "data")):
            with new_folder(inner) as temporary:
                shutil.copytree(other / inner.name, temporary, dirs_exist_ok=True)
            log.info("%s: what the control does is taken from %s", folder.name, other.parents[1].name)
            return


def kind_of(stage: Stage) -> str:
    """goals, weights or rows."""
    if isinstance(stage.attack, GoalAttack):
        return "goals"
    return "weights" if isinstance(stage.attack, WeightAttack) else "rows"


def _attacked(stage: Stage, target: Target, folder: Path, run: Run | None) -> tuple[dict[str, Any], list[Hits]]:
    """Results of one model, and which items show the forgotten: clean first, then under attack, budget by budget."""
    if isinstance(stage.attack, GoalAttack):
        found = goal_results(stage, target, folder)
        return found, list(goal_hits(stage, target, folder))
    if isinstance(stage.attack, WeightAttack):
        return weight_results(stage, target, folder, run)
    return rows_results(stage, target, folder, run), []


def _beside_control(results: Mapping[str, Any], hits: Sequence[Hits], other: Sequence[Hits]) -> dict[str, Any]:
    """leaks: whether the attack brings the answers out of a model that never knew them, so that success says nothing.

    above_control: attacked rate of the target minus the control's at the target's worst budget, over the same items.
    """
    if len(other) < 2 or not any(other):
        return {}
    found = leak(other[0], other[1:])
    labels = [point["budget"] for point in results["curve"]]
    at = labels.index(results["worst"]) + 1 if len(hits) == len(other) == len(labels) + 1 else -1
    return {
        "leaks": found["leaks"], "control_difference": found["difference"],
        "above_control": difference(other[at], hits[at]),
    }  # fmt: skip


def _identity(stage: Stage, options: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """What must be equal for stored parts to be used again; options that an attack does not look at are none of it."""
    all_options = plain(build(AttackOptions, options, "options"))
    own = OF_GOALS if kind_of(stage) == "goals" else set(all_options) - {"candidates_from"} - FREE
    settings = {k: v for k, v in settings.items() if k not in FREE}
    return {"settings": settings, "options": {k: v for k, v in all_options.items() if k in own}}


def _claim(folder: Path, stage: Stage, target: Target) -> None:
    """Refuse other settings than the stored ones; drop what was made of another model or other data."""
    identity = {"settings": plain(stage.attack.config), "options": plain(stage.options)}
    question = Question(target, stage.options)
    asked = [question.split] if kind_of(stage) == "goals" else asked_splits(stage, target)
    told = question.about() if kind_of(stage) == "goals" else None
    data = digest([target.seed, [target.data[name].fingerprint for name in asked], told])
    inputs = digest([target.about["weights"], data])
    file = folder / "attack.json"
    if file.is_file():
        stored = json.loads(file.read_text(encoding="utf-8"))
        old, new = (_identity(stage, i["options"], i["settings"]) for i in (stored["identity"], identity))
        changed = differences(old, json.loads(json.dumps(new)))
        if changed:
            raise UserError(
                f"{folder} was made with other settings ({'; '.join(changed[:3])}).\n"
                f"Give it another name ({stage.title}.as=…), or --fresh to replace it."
            )
        if stored["inputs"] == inputs:
            return
        shutil.rmtree(folder)
    write_json(file, {"identity": identity, "inputs": inputs, "data": data, "attack": stage.attack.name()})
