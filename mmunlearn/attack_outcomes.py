"""Outcomes of attacks on goals as they are stored: one JSON row a goal, candidates complete enough to be asked again.

<folder>/goals/     rows: clean verdict, tries (candidate, verdict, answer) in order of promise, cost
<folder>/inputs/    pictures of candidates that are not their goal's own, named by their content
<folder>/pictures/  what a model that answers with pictures drew
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmunlearn.atomic import new_folder, write_bytes
from mmunlearn.attack_figures import HIT
from mmunlearn.attacks.base import Cost
from mmunlearn.attacks.base_goals import NOTHING, Outcome, Try
from mmunlearn.data import Example, ImageRef
from mmunlearn.errors import UserError
from mmunlearn.evaluate import verdict_fields, verdict_of
from mmunlearn.records import Shard, read_rows

GOALS, INPUTS, PICTURES = "goals", "inputs", "pictures"
OWN = "goal"  # in the place of a picture's file: the goal's own picture
BULKY = ("token_", "choices", "tag.", "tags", "prompt", "target", "vocabulary")  # of answers: not kept


def store(folder: Path, outcome: Outcome, goal: Example) -> None:
    """Append one goal's outcome; pictures of its candidates first, so that a row never names a file that is absent."""
    row = {
        "id": outcome.id, "clean": verdict_fields(outcome.clean), "cost": asdict(outcome.cost),
        "tries": [_try_row(folder, one, goal) for one in outcome.tries],
    }  # fmt: skip
    Shard(folder / GOALS).append([row])


def read(folder: Path, goals: Mapping[str, Example]) -> dict[str, Outcome]:
    """Stored outcomes of `goals` by id."""
    rows = read_rows(folder / GOALS)
    return {row["id"]: _outcome(folder, row, goals[row["id"]]) for row in rows if row["id"] in goals}


def drop_unanswered(folder: Path) -> None:
    """Forget outcomes with a verdict that no answer came for (a server that failed), so that they are made again."""
    rows = read_rows(folder / GOALS)
    kept = [row for row in rows if not _again(row)]
    if len(kept) != len(rows):
        with new_folder(folder / GOALS) as temporary:
            Shard(temporary).append(kept)


def _again(row: Mapping[str, Any]) -> bool:
    return any(verdict.get("again") for verdict in (row["clean"], *(one["verdict"] for one in row["tries"])))


def _try_row(folder: Path, one: Try, goal: Example) -> dict[str, Any]:
    answer = {k: _answer_value(k, v) for k, v in one.answer.items() if not k.startswith(BULKY)}
    row: dict[str, Any] = {"origin": one.origin, "verdict": verdict_fields(one.verdict), "answer": answer}
    if one.candidate is not None:
        row["candidate"] = {
            "id": one.candidate.id, "prompt": one.candidate.prompt, "tags": dict(one.candidate.tags),
            "image": _image_name(folder, one.candidate.image, goal),
        }  # fmt: skip
    return row


def _answer_value(name: str, value: Any) -> Any:
    return Path(value).name if name == "image" and isinstance(value, str) else value


def _image_name(folder: Path, image: ImageRef | None, goal: Example) -> str | None:
    if image is None:
        return None
    if goal.image is not None and (image is goal.image or image.digest == goal.image.digest):
        return OWN
    content = image.read()
    suffix = {b"\x89PNG": ".png", b"\xff\xd8\xff\xe0": ".jpg", b"\xff\xd8\xff\xe1": ".jpg"}.get(content[:4], ".img")
    name = image.digest + suffix
    if not (folder / INPUTS / name).is_file():
        write_bytes(folder / INPUTS / name, content)
    return name


def _outcome(folder: Path, row: Mapping[str, Any], goal: Example) -> Outcome:
    tries = tuple(
        Try(one["origin"], verdict_of(one["verdict"]), candidate_of(folder, one.get("candidate"), goal), one["answer"])
        for one in row["tries"]
    )
    return Outcome(row["id"], verdict_of(row["clean"]), tries, Cost(**row["cost"]))


def candidate_of(folder: Path, row: Mapping[str, Any] | None, goal: Example) -> Example | None:
    """The candidate that a row describes, asking what its goal asks; None for what was read out."""
    if row is None:
        return None
    name = row["image"]
    if name is not None and name != OWN and not (folder / INPUTS / name).is_file():
        raise UserError(f"{folder / INPUTS / name}: is missing. Make the attack again with --fresh.")
    image = goal.image if name == OWN else None if name is None else ImageRef(path=folder / INPUTS / name)
    return Example(
        id=row["id"], image=image, prompt=row["prompt"], target=goal.target, choices=goal.choices, tags=row["tags"],
    )  # fmt: skip


def success_at(outcome: Outcome, budget: int | None = None) -> float:
    """Greatest verdict of the first `budget` tries (None: all); 0 where these are unscored and later ones are not, and
    where nothing was found to try; NaN where none is scored, or the clean answer is not. The clean verdict where it is
    why nothing was tried: an attack that stops at the first success leaves such goals alone."""
    untried = bool(outcome.tries) and all(one.origin == NOTHING for one in outcome.tries)
    if untried and outcome.clean.scored and outcome.clean.value >= HIT:
        return outcome.clean.value
    if outcome.clean.scored and not outcome.tries:
        return 0.0
    whole = outcome.success_at(len(outcome.tries))
    if not outcome.clean.scored or math.isnan(whole):
        return math.nan
    own = whole if budget is None else outcome.success_at(budget)
    return 0.0 if math.isnan(own) else own


def winner(outcome: Outcome, at_least: float) -> Try | None:
    """The best try, where it has a candidate and succeeded."""
    if not outcome.tries:
        return None
    best = outcome.best
    return best if best.verdict.scored and best.verdict.value >= at_least and best.candidate is not None else None


def by_id(goals: Sequence[Example]) -> dict[str, Example]:
    """Goals by id."""
    return {goal.id: goal for goal in goals}
