"""Trained originals and retrained models, shared by runs: found by the hash of recipe, data, settings and code."""

import json
import shutil
from pathlib import Path
from typing import Any

from mmunlearn.atomic import new_folder
from mmunlearn.cache import cache_folder


def fetch_model(key: str, to: Path) -> dict[str, Any] | None:
    """Copy the cached model `key` to the folder `to` and return what was stored with it; None when there is none."""
    folder = cache_folder("models") / key
    if not (folder / "facts.json").is_file():
        return None
    with new_folder(to) as temporary:
        shutil.copytree(folder / "model", temporary, dirs_exist_ok=True)
    return json.loads((folder / "facts.json").read_text(encoding="utf-8"))


def store_model(key: str, model: Path, facts: dict[str, Any]) -> None:
    """Keep a copy of the folder `model` under `key`."""
    with new_folder(cache_folder("models") / key) as temporary:
        shutil.copytree(model, temporary / "model")
        (temporary / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
