"""Stored candidates asked again: of the model they were found on, from disk alone, or of another model (transfer)."""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmunlearn import attack_outcomes as outcomes
from mmunlearn.atomic import write_json
from mmunlearn.attack_figures import HIT, cells, share
from mmunlearn.attack_options import AttackOptions, Question
from mmunlearn.attack_target import open_target
from mmunlearn.attacks.base import Access, Metered
from mmunlearn.attacks.base_goals import GoalAttack, InputAttack, InputSettings, Trial, judged_fields
from mmunlearn.data import Example
from mmunlearn.errors import UserError, near_miss
from mmunlearn.judges.base import Item
from mmunlearn.run import Run
from mmunlearn.settings import build


class Stored(InputAttack):
    """Candidates found before, asked without any search: one a goal, by the goal's id."""

    access = Access.TEXT
    paper = "none: the candidates are another attack's"
    candidates: Mapping[str, Example]

    class Config(InputSettings):
        """Settings and budget; every field has a default."""

    def search(self, handle: Metered, goals: Sequence[Example], seed: int) -> Iterator[Trial]:
        """Each goal's candidate."""
        for index, goal in enumerate(goals):
            yield Trial(self.candidates[goal.id], 0.0, index, "stored")


def winners_as_attack(
    place: Path, attack: GoalAttack, goals: Mapping[str, Example]
) -> tuple[Stored, dict[str, Example]]:
    """The winning candidates under `place` (an attack's folder, or a run that holds one of this name) as an attack,
    and the goals that have one. Raises UserError where there is none."""
    folder = place if (place / outcomes.GOALS).is_dir() else place / "attacks" / attack.name()
    if not (folder / outcomes.GOALS).is_dir():
        raise UserError(
            f"options.candidates_from: {folder} holds no candidates. Give RUN/attacks/NAME of an attack on inputs."
        )
    found = {key: won.candidate for key, outcome in outcomes.read(folder, goals).items()
             if (won := outcomes.winner(outcome, HIT)) is not None and won.candidate is not None}  # fmt: skip
    if not found:
        raise UserError(f"options.candidates_from: {folder} has no successful candidate for any of these goals.")
    stored = Stored({"together": attack.config.together})
    stored.candidates = found
    return stored, {key: goal for key, goal in goals.items() if key in found}


def replay(path: Path, title: str) -> dict[str, Any]:
    """Ask the run at `path` the winning candidates of its attack `title` once more, from what is stored.

    Gives (and writes to replay.json) how many were asked and the share that succeeds again, with Wilson's interval;
    pictures are drawn anew. Raises UserError where the attack stored no candidate.
    """
    from mmunlearn.pipeline import read_settings

    folder = path / "attacks" / title
    file = folder / "results.json"
    if not file.is_file():
        known = [p.parent.name for p in sorted((path / "attacks").glob("*/results.json"))]
        raise UserError(f"{path}: no finished attack {title!r}. {near_miss(title, known)}")
    results = json.loads(file.read_text(encoding="utf-8"))
    options = build(AttackOptions, results["options"], str(file))
    with Run.open(path, read_settings(path)):
        target = open_target(path)
        found = replayed(Question(target, options), folder)
    write_json(folder / "replay.json", found)
    return found


def replayed(question: Question, folder: Path) -> dict[str, Any]:
    """As `replay`, on an open target; `folder` is the attack's."""
    goals = outcomes.by_id(question.target.data[question.split].examples)
    stored = outcomes.read(folder, goals)
    asked = {key: won.candidate for key, o in stored.items() if (won := outcomes.winner(o, HIT)) is not None}
    candidates = [candidate for candidate in asked.values() if candidate is not None]
    if not candidates:
        raise UserError(f"{folder}: holds no candidate that succeeded, so there is nothing to ask again.")
    pictures = folder / "replay" / outcomes.PICTURES
    shutil.rmtree(pictures.parent, ignore_errors=True)
    how = replace(question.decoding(question.split), folder=pictures)
    answers = question.target.handle.respond(candidates, how, question.target.seed)
    items = [Item(e, judged_fields(a, how)) for e, a in zip(candidates, answers, strict=True)]
    verdicts = question.required_judge()(items, {})
    again = [verdict.scored and verdict.value >= HIT for verdict in verdicts]
    cell = cells({"again": share(again)})["again"]
    return {"asked": len(again), "succeeded_again": sum(again), **{k: cell[k] for k in ("value", "low", "high")}}
