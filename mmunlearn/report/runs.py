"""Finished run folders, read: what a report is made from."""

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mmunlearn.errors import UserError
from mmunlearn.records import Rows
from mmunlearn.responses import rows_of

SCHEMA = 1
FIELDS = ("schema", "benchmark", "edition", "card_version", "table", "row", "method", "seed", "cells")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Finished:
    """A complete run: its folder and the content of its results.json."""

    path: Path
    results: Mapping[str, Any]

    @property
    def row(self) -> str:
        return self.results["row"]

    @property
    def seed(self) -> int:
        return self.results["seed"]

    @property
    def request(self) -> str:
        """The run's request; empty where the table has none, or before any."""
        return self.results.get("request", "")

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """Versions and hashes; empty when the file is missing."""
        return _json(self.path / "manifest.json") if (self.path / "manifest.json").is_file() else {}

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The run's resolved settings; empty when the file is missing."""
        from mmunlearn.run import Run

        return Run.read(self.path) if (self.path / "config.yaml").is_file() else {}

    @cached_property
    def attacks(self) -> dict[str, dict[str, Any]]:
        """Reports that `mmunlearn attack` left under `attacks/<name>/`, by name."""
        return {path.parent.name: _json(path) for path in sorted((self.path / "attacks").glob("*/results.json"))}

    def responses(self, split: str) -> Rows | None:
        """Stored responses to a split, sorted by id; None when there are none."""
        return rows_of(self.path, split)


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({error}). Delete it and repeat the command.") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds no JSON object. Delete it and repeat the command that wrote it.")
    return content


def read_run(folder: Path) -> Finished:
    """The finished run in `folder`. Raises UserError when it is no run, unfinished, or of another schema."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder. Give run folders, or the folder that holds them.")
    path = folder / "results.json"
    if not path.is_file():
        what = "is not finished" if (folder / "config.yaml").is_file() else "is not a run"
        raise UserError(f"{folder}: {what} (results.json is missing). Repeat the command that makes it.")
    results = _json(path)
    missing = [name for name in FIELDS if name not in results]
    if missing:
        raise UserError(f"{path}: lacks {', '.join(missing)}. Delete it and repeat the command that wrote it.")
    if results["schema"] != SCHEMA:
        raise UserError(f"{path}: schema {results['schema']} is not {SCHEMA}. Repeat the run with this version.")
    return Finished(folder, results)


def find_runs(places: Iterable[Path]) -> list[Finished]:
    """Finished runs in the given folders: runs themselves, or folders that hold runs (`OUT` or `OUT/runs`).

    Unfinished runs below a folder are left out with a warning. Raises UserError when nothing is found.
    """
    places = list(places)
    found: dict[Path, Finished] = {}
    for place in places:
        if not place.is_dir():
            raise UserError(f"{place}: no such folder. Give run folders, or the folder that holds them.")
        if (place / "results.json").is_file() or (place / "config.yaml").is_file():
            found.setdefault(place.resolve(), read_run(place))
            continue
        for folder in _below(place):
            if (folder / "results.json").is_file():
                found.setdefault(folder.resolve(), read_run(folder))
            else:
                log.warning("%s is not finished and left out of the table.", folder)
    if not found:
        raise UserError(
            f"{', '.join(map(str, places))}: no finished run in it. Give the folder of a reproduce command."
        )
    return list(found.values())


def _below(place: Path) -> Sequence[Path]:
    runs = place / "runs"
    parent = runs if runs.is_dir() else place
    return sorted(child for child in parent.iterdir() if (child / "config.yaml").is_file() or _has_results(child))


def _has_results(folder: Path) -> bool:
    return folder.is_dir() and (folder / "results.json").is_file()
