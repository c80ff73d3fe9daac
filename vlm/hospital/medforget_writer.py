"""Writes the mini edition of MedForget: an invented hospital world in the parquet layout of the real data."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmunlearn import atomic, seeds
from mmunlearn.avatars.jpeg import encode
from mmunlearn.mini_folder import TRUTH, mini_folder

from ..hierarchy import LEVELS, Node, below_any
from .items import rows
from .radiograph import radiograph
from .records import Study, draw_studies

UNSEEN = "unseen_set_all.parquet"


@dataclass(frozen=True, kw_only=True)
class MedforgetSizes:
    """How much to write. patients: of an institution; studies: of a patient; unseen: institutions that no model is
    trained on; forget_<level>: how many nodes of that level the forget file of the level holds."""

    institutions: int = 4
    patients: int = 3
    studies: int = 2
    unseen: int = 1
    forget_institution: int = 1
    forget_patient: int = 2
    forget_study: int = 3
    forget_section: int = 8
    size_px: int = 64


def write_medforget(root: Path, sizes: MedforgetSizes, seed: int) -> dict[str, Any]:
    """Write <level>_level/{forget,retain}_set_all.parquet, unseen_set_all.parquet (ours) and `mini.json`, the manifest
    that is returned. Deterministic in (sizes, seed). All four levels divide the same rows."""
    studies = list(draw_studies(sizes.institutions, sizes.patients, sizes.studies, seed))
    others = list(draw_studies(sizes.unseen, sizes.patients, sizes.studies, seed, first=sizes.institutions))
    made = {name: _rows(part, studies, sizes, seed) for name, part in (("all", studies), ("unseen", others))}
    files: dict[str, Sequence[Mapping[str, Any]]] = {UNSEEN: made["unseen"]}
    for depth, level in enumerate(LEVELS, start=1):
        targets = targets_of(made["all"], depth, getattr(sizes, f"forget_{level}"), seed)
        gone = [row for row in made["all"] if below_any(row["path"], targets)]
        files[f"{level}_level/forget_set_all.parquet"] = gone
        files[f"{level}_level/retain_set_all.parquet"] = [row for row in made["all"] if row not in gone]
    with mini_folder(root) as folder:
        for name, part in files.items():
            write_rows(folder / name, part)
        manifest = {
            "schema": 1, "benchmark": "medforget", "edition": "mini", "seed": seed, "sizes": asdict(sizes),
            "counts": {name: len(part) for name, part in files.items()},
        }  # fmt: skip
        atomic.write_json(folder / TRUTH, manifest)
    return manifest


def targets_of(made: Sequence[Mapping[str, Any]], depth: int, count: int, seed: int) -> list[Node]:
    """Nodes of a level that are to be forgotten, no two under one parent while there are parents left."""
    nodes = list(dict.fromkeys(row["path"] for row in made if len(row["path"]) == depth))
    order = [nodes[int(i)] for i in seeds.generator(seed, "medforget", "targets", depth).permutation(len(nodes))]
    chosen: list[Node] = []
    for fresh in (True, False):
        for node in order:
            taken = any(node[:-1] == other[:-1] for other in chosen)
            if len(chosen) < count and node not in chosen and not (fresh and taken):
                chosen.append(node)
    return chosen


def _rows(part: Sequence[Study], world: Sequence[Study], sizes: MedforgetSizes, seed: int) -> list[dict[str, Any]]:
    found = []
    for study in part:
        picture = encode(radiograph(study, seed, sizes.size_px))
        for row in rows(study, world, seeds.generator(seed, "medforget", "items", study.study)):
            found.append({**row, "picture": picture})
    return found


def write_rows(path: Path, part: Sequence[Mapping[str, Any]]) -> None:
    """One file of rows in the columns of the real data; equal rows give equal bytes."""
    import pyarrow
    from pyarrow import parquet

    cells = [
        {
            "image": {"bytes": row["picture"]},
            "image_path": row["image_path"],
            "metadata": json.dumps(row["metadata"]),
            "hierarchy_metadata": json.dumps(row["hierarchy"]),
            "ID": row["ID"],
        }
        for row in part
    ]
    buffer = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(cells), buffer, compression="none")
    atomic.write_bytes(path, buffer.getvalue())
