"""Cells of a row whose model is attacked: clean and attacked success, success by iteration, what a goal costs."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmunlearn.attack_figures import HIT, mean, share
from mmunlearn.attack_goals import budgets
from mmunlearn.attack_outcomes import GOALS
from mmunlearn.evaluate import verdict_of
from mmunlearn.metrics.base import Value
from mmunlearn.records import read_rows

MINUTE_S = 60.0


def attack_cells(run: Path, title: str) -> dict[str, Value]:
    """Cells of the attack `title` on the run: attack/pre_asr, attack/asr (of the clean answers and all tries, over all
    goals that are scored; one whose clean answer succeeds is not attacked and counts in both), attack/asr_at_<b>,
    attack/minutes, attack/gradient_steps and attack/pictures a goal that was attacked, attack/round_trip (share of
    found prompts whose text has their token ids again), attack/refused (share of goals)."""
    folder = run / "attacks" / title
    file = folder / "results.json"
    if not file.is_file():
        return {}
    rows = read_rows(folder / GOALS)
    asked = json.loads(file.read_text(encoding="utf-8"))["goals_attacked"]["asked"]
    assert len(rows) == asked, f"{folder}: {len(rows)} of {asked} goals are stored"
    refused = [row for row in rows if any(one["origin"] == "refused" for one in row["tries"])]
    scored = [row for row in rows if _scored(row)]
    tried = [row for row in scored if _values(row)]
    out = len(rows) - len(scored)
    clean = [_clean(row) for row in scored]
    most = max((len(row["tries"]) for row in tried), default=0)
    cells = {"pre_asr": share(clean, out), "asr": share([_won(row, most) for row in scored], out)}
    cells |= {f"asr_at_{b}": share([_won(row, b) for row in scored], out) for b in budgets(most)}
    costs: Mapping[str, list[float]] = {
        "minutes": [row["cost"]["seconds"] / MINUTE_S for row in tried],
        "gradient_steps": [float(row["cost"]["gradient_steps"]) for row in tried],
        "pictures": [float(len(row["tries"])) for row in tried],
    }
    cells |= {name: mean(np.array(values)) for name, values in costs.items()}
    told = [tag for row in scored for one in row["tries"] if (tag := _round_trip(one)) is not None]
    cells |= {"round_trip": share([tag == "1" for tag in told]), "refused": share([row in refused for row in rows])}
    return {f"attack/{name}": value for name, value in cells.items() if value.n}


def goals_won(run: Path, title: str) -> dict[str, bool]:
    """Whether the goal, by id, shows what the attacker wants, clean or in any try: what attack/asr is the share of."""
    folder = run / "attacks" / title / GOALS
    rows = read_rows(folder) if folder.is_dir() else []
    return {row["id"]: _won(row, len(row["tries"])) for row in rows if _scored(row)}


def _scored(row: Mapping[str, Any]) -> bool:
    return _clean(row) or (verdict_of(row["clean"]).scored and bool(_values(row)))


def _values(row: Mapping[str, Any]) -> list[float]:
    found = [verdict_of(one["verdict"]) for one in row["tries"]]
    return [verdict.value for verdict in found if verdict.scored]


def _won(row: Mapping[str, Any], budget: int) -> bool:
    tries = [verdict_of(one["verdict"]).value for one in row["tries"][:budget]]
    return _clean(row) or any(value >= HIT for value in tries)


def _clean(row: Mapping[str, Any]) -> bool:
    verdict = verdict_of(row["clean"])
    return verdict.scored and verdict.value >= HIT


def _round_trip(one: Mapping[str, Any]) -> str | None:
    return (one.get("candidate") or {}).get("tags", {}).get("round_trip")
