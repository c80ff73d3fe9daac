"""Representation plan: do a model's features still hold what its answers no longer show?

For any classifier whose responses can carry `features`: CKA with the retrained and the original model, k-NN and linear
transfer of the features, on splits of its benchmark and on any folder of labelled pictures. Source: "Are We Truly
Forgetting?" (vision.md 3.2); the metrics are `cka`, `knn_transfer`, `linear_probe`, and for a benchmark's splits the
unified scores `agl`, `agr` and `h_lr`, which are this project's definitions.

    RUN/representation/<model>/responses/<split>/   features by example; remade when weights or data change
    RUN/representation/results.json
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from mmunlearn.atomic import write_json
from mmunlearn.data import Example, ImageRef, Role, Split
from mmunlearn.errors import UserError, near_miss
from mmunlearn.evaluate import make_metric, respond, rows_of
from mmunlearn.handle import Decoding, Handle
from mmunlearn.metrics.base import Sight, Value
from mmunlearn.records import Rows
from mmunlearn.run import Run
from mmunlearn.settings import Settings

CLASS = "folder"  # tag of pictures from a folder: the name of the sub-folder
TRANSFER = ("knn_transfer", "linear_probe")


class RepresentationSettings(Settings):
    """splits: of the benchmark. images: a folder with one sub-folder of pictures a class, or "". tag: transfer reads
    this tag of the examples (an identity, say) instead of their target. limit: at most that many examples a split."""

    splits: tuple[str, ...] = ("forget", "retain", "test")
    images: str = ""
    tag: str = ""
    limit: int = Field(0, ge=0)
    batch_size: int = Field(256, ge=1)


@dataclass(frozen=True)
class Model:
    """A model whose features are looked at, and the name of its folder."""

    name: str
    handle: Handle


def represent(
    path: Path,
    settings: RepresentationSettings | None = None,
    *,
    reference: Path | None = None,
    original: Path | None = None,
) -> dict[str, Any]:
    """Cells "<split>/<metric>" of the run at `path`, with the same of the reference and the original beside.

    reference, original: runs (or folders of saved models) of the retrained model and of the one before unlearning.
    """
    from mmunlearn.attack_target import open_target
    from mmunlearn.modalities import load_handle
    from mmunlearn.pipeline import read_settings

    settings = settings or RepresentationSettings()
    with Run.open(path, read_settings(path)):
        target = open_target(path)
        models = [Model("model", target.handle)]
        for name, folder in (("reference", reference), ("original", original)):
            if folder is not None:
                models.append(Model(name, load_handle(target.modality, folder)))
        splits = chosen_splits(target.data, settings)
        results = compare(path / "representation", models, splits, settings, target.seed)
        write_json(path / "representation" / "results.json", results)
    return results


def chosen_splits(data: Mapping[str, Split], settings: RepresentationSettings) -> dict[str, Split]:
    """The benchmark's splits that the settings name, and the folder of pictures under its own name."""
    chosen = {}
    for name in settings.splits:
        if name not in data:
            raise UserError(f"representation.splits: {name!r} is not in this data. {near_miss(name, data)}")
        chosen[name] = data[name]
    if settings.images:
        template = next((e.target for split in data.values() for e in split), 0)
        folder = Path(settings.images)
        if folder.name in data:
            raise UserError(f"representation.images: {folder.name} is also a split's name. Rename the folder.")
        chosen[folder.name] = picture_folder(folder, template)
    if settings.limit:
        chosen = {name: split.subset(range(min(settings.limit, len(split)))) for name, split in chosen.items()}
    return chosen


def picture_folder(folder: Path, target: Any) -> Split:
    """Pictures under FOLDER/<class>/…, the class as a tag; `target` is what the model is asked and is not scored.

    The model's own classes need not be the folder's, so an answer to `target` means nothing here; the features do.
    """
    from mmunlearn.tables import read_image_folder

    examples = []
    for record in read_image_folder(folder):
        key = f"{folder.name}/{record['image']}"
        examples.append(Example(id=key, image=ImageRef(record.path), target=target, tags={CLASS: record["label"]}))
    return Split(folder.name, Role.UTILITY, tuple(examples))


def compare(
    folder: Path, models: Sequence[Model], splits: Mapping[str, Split], settings: RepresentationSettings, seed: int
) -> dict[str, Any]:
    """Cells of the first model; `reference` and `original` among the others are what it is compared with."""
    how = Decoding(batch_size=settings.batch_size, fields={"features": True})
    rows: dict[tuple[str, str], Rows] = {}
    for model in models:
        run = Run.scratch(folder / model.name, seed)
        for name, split in splits.items():
            respond(run, model.handle, replace(split, name=name), how)
            found = rows_of(run.path, name)
            if found is None or "features" not in found:
                raise UserError(f"representation: a {model.handle.modality} model gives no features of {name!r}.")
            rows[model.name, name] = _labelled(found, split, settings)
    names = [model.name for model in models]
    tables = {who: _cells_of(who, rows, splits, names) for who in names}
    result: dict[str, Any] = {"schema": 1, "splits": {name: len(split) for name, split in splits.items()}}
    result["cells"] = {
        cell: _json(value) | {who: _number(tables[who].get(cell)) for who in names[1:]}
        for cell, value in tables[names[0]].items()
    }
    return result


def _labelled(rows: Rows, split: Split, settings: RepresentationSettings) -> Rows:
    """Rows whose `target` is what transfer reads: the folder's class, the tag, or the target itself."""
    tag = CLASS if any(CLASS in e.tags for e in split) else settings.tag
    if not tag:
        return rows
    tags = {e.id: e.tags.get(tag) for e in split}
    if any(value is None for value in tags.values()):
        known = sorted({name for e in split for name in e.tags})
        raise UserError(f"representation.tag: examples of {split.name!r} lack the tag {tag!r}. {near_miss(tag, known)}")
    order = {value: i for i, value in enumerate(sorted({str(v) for v in tags.values()}))}
    coded = np.asarray([[order[str(tags[key])]] for key in rows.ids], dtype=np.float64)
    asked = Rows(rows.ids, {name: column for name, column in rows.columns.items() if name != "logits"})
    return asked.with_column("target", coded)  # no logits: they answer another question


def _cells_of(
    who: str, rows: Mapping[tuple[str, str], Rows], splits: Mapping[str, Split], names: Sequence[str]
) -> dict[str, Value]:
    cells: dict[str, Value] = {}
    for split in splits:
        sight = Sight(
            rows[who, split],
            reference=rows["reference", split] if "reference" in names else None,
            original=rows["original", split] if "original" in names else None,
        )
        for metric, title in _metrics(sight):
            cells[f"{split}/{title}"] = metric.reduce(sight)
    return cells | _unified(cells)


def _metrics(sight: Sight) -> Iterator[tuple[Any, str]]:
    plans: list[str | dict[str, Any]] = [*TRANSFER]
    has_logits = "logits" in sight.rows
    if has_logits:
        plans.append("top1")
    if sight.reference is not None:
        plans.append({"name": "cka", "versus": "reference", "as": "cka"})
        plans += [{"name": "gap", "metric": name, "as": f"gap_{name}"} for name in (*TRANSFER, *["top1"] * has_logits)]
    if sight.original is not None:
        plans.append({"name": "cka", "versus": "original", "as": "cka_original"})
    for plan in plans:
        yield make_metric(plan, "core")


def _unified(cells: Mapping[str, Value]) -> dict[str, Value]:
    """AGL, AGR and H-LR over the splits that have the parts."""
    parts = {
        "gaps": [name for name in cells if name.endswith("/gap_top1")],
        "knn": [name for name in cells if name.endswith("/gap_knn_transfer")],
        "cka": [name for name in cells if name.endswith("/cka")],
    }
    if not all(parts.values()):
        return {}
    known: dict[str, Value] = dict(cells)
    for wanted, title in (
        ({"name": "agl", "gaps": parts["gaps"]}, "all/agl"),
        ({"name": "agr", "gaps": parts["knn"], "cka": parts["cka"]}, "all/agr"),
        ({"name": "h_lr"}, "all/h_lr"),
    ):
        known[title] = make_metric(wanted, "core")[0].reduce(Sight(Rows((), {}), cells=known))
    return {title: known[title] for title in ("all/agl", "all/agr", "all/h_lr")}


def _json(value: Value) -> dict[str, Any]:
    from mmunlearn.pipeline import cell_json

    return cell_json(value)


def _number(value: Value | None) -> float | None:
    return None if value is None or value.value != value.value else float(value.value)


def read_results(path: Path) -> dict[str, Any] | None:
    """What `represent` stored in the run at `path`, or None."""
    file = path / "representation" / "results.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
