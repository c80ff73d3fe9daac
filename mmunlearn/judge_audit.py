"""Audit of a judge: its labels against a labelled folder's, so that what it says of models can be weighed."""

import math
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmunlearn.agreement import NONE, Agreement, kappa, pearson, raw_agreement
from mmunlearn.data import Example, ImageRef
from mmunlearn.errors import UserError, near_miss
from mmunlearn.judges.base import Item, Judge, Verdict
from mmunlearn.tables import IMAGE_SUFFIXES, read_csv

TABLE = "labels.csv"
COLUMNS: Mapping[str, Sequence[str]] = {"filename": ("file_name", "file"), "label": ("brand",)}


@dataclass(frozen=True)
class Labelled:
    """A picture and its true label; further columns of the table are tags."""

    path: Path
    label: str
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Audit:
    """accuracy: share of right labels; hallucination: share of pictures with the label `none` that got another;
    correlation: Pearson's, of "something is shown" as judged and as labelled; chance_corrected: kappa. unscored: left
    out of all of them."""

    pictures: int
    unscored: int
    accuracy: Agreement
    hallucination: Agreement
    correlation: Agreement
    chance_corrected: Agreement

    def plain(self) -> dict[str, Any]:
        """As JSON; what is no number becomes null."""

        def cell(found: Agreement) -> dict[str, Any]:
            return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in found._asdict().items()}

        return {
            "pictures": self.pictures, "unscored": self.unscored, "accuracy": cell(self.accuracy),
            "hallucination": cell(self.hallucination), "pearson": cell(self.correlation),
            "kappa": cell(self.chance_corrected),
        }  # fmt: skip


def read_labelled(folder: Path, *, part: str = "") -> list[Labelled]:
    """Pictures of a folder with labels.csv (filename, label, further columns), or of folders named by label.

    part: "column=value", rows to take. Raises UserError for a missing folder, table, column or picture, and for a
    folder without labels.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder. Give one with {TABLE}, or with a folder a label.")
    if (folder / TABLE).is_file():
        found = _of_table(folder, part)
    elif part:
        raise UserError(f"--part: {folder} has no {TABLE} whose rows could be chosen.")
    else:
        found = [
            Labelled(path, path.parent.name, {})
            for path in sorted(folder.glob("*/*"))
            if path.suffix.lower() in IMAGE_SUFFIXES
        ]
    if not found:
        raise UserError(f"{folder}: holds neither {TABLE} nor a folder of pictures for each label.")
    return found


def _of_table(folder: Path, part: str) -> list[Labelled]:
    import csv

    table = folder / TABLE
    with open(table, encoding="utf-8-sig", newline="", errors="replace") as stream:
        names = [name.strip() for name in next(csv.reader(stream), [])]
    known = {other for column, others in COLUMNS.items() for other in (column, *others)}
    further: dict[str, Sequence[str]] = {name: () for name in names if name and name not in known}
    column, equals, wanted = part.partition("=")
    if part and (not equals or column not in names):
        raise UserError(f"--part: {part!r} names no column of {table}. {near_miss(column, names)}")
    found = []
    for record in read_csv(table, {**COLUMNS, **further}):
        tags = {name: record[name] for name in further}
        if not record["label"]:
            raise record.fault("label is empty.")
        path = folder / record["filename"]
        if not record["filename"] or folder.resolve() not in path.resolve().parents or not path.is_file():
            raise record.fault(f"filename {record['filename']!r} is no picture under {folder}.")
        if not part or {**tags, "label": record["label"]}.get(column) == wanted:
            found.append(Labelled(path, record["label"], tags))
    if not found:
        raise UserError(f"--part: no row of {table} has {part}.")
    return found


def items(labelled: Sequence[Labelled], folder: Path) -> list[Item]:
    """The pictures as responses; tags brand, style, asked and the label's own name hold the label."""
    found = []
    for one in labelled:
        tags = {"brand": one.label, "style": one.label, "asked": one.label, **one.tags, "label": one.label}
        name = one.path.relative_to(folder).as_posix()
        fields = {"image": str(one.path.absolute()), "image_hash": _hash(one.path)}
        found.append(Item(Example(id=name, prompt="", target=one.label, tags=tags), fields))
    return found


def _hash(path: Path) -> str:
    return ImageRef(path=path).digest


def check_labels(judge: Judge, labelled: Sequence[Labelled], names: Mapping[str, str]) -> None:
    """Raise UserError for a true label that the judge can never give."""
    offered = {said(label, names) for label in judge.offered}
    for one in labelled:
        if offered and one.label not in offered:
            raise UserError(
                f"{one.path}: label {one.label!r} is none that judge {judge.name()} gives. "
                f"{near_miss(one.label, offered)}\nTranslate the judge's labels: --map theirs=ours."
            )


def audit(
    judge: Judge, asked: Sequence[Item], names: Mapping[str, str], none: str, cache: MutableMapping[str, Verdict]
) -> tuple[Audit, list[dict[str, Any]]]:
    """Figures and one row a picture (id, label, judged, explanation, raw). names: the judge's label -> the folder's.

    A label's part before "/" counts (judge style_object)."""
    verdicts: list[Verdict] = []
    for start in range(0, len(asked), judge.batch):
        verdicts += judge(asked[start : start + judge.batch], cache)
    rows = [
        {
            "id": item.example.id, "label": item.example.target,
            "judged": said(verdict.label, names) if verdict.scored and verdict.label is not None else None,
            "explanation": verdict.explanation, "raw": verdict.raw,
        }
        for item, verdict in zip(asked, verdicts, strict=True)
    ]  # fmt: skip
    scored = [(row["label"], row["judged"]) for row in rows if row["judged"] is not None]
    true, judged = [a for a, _ in scored], [b for _, b in scored]
    quiet = [b == none for a, b in scored if a == none]
    right = raw_agreement(quiet, [True] * len(quiet)) if quiet else NONE
    loud = Agreement(1 - right.value, right.n, 1 - right.high, 1 - right.low)
    shown = pearson([float(a != none) for a in true], [float(b != none) for b in judged])
    return Audit(
        len(rows), len(rows) - len(scored), raw_agreement(true, judged), loud, shown, kappa(true, judged)
    ), rows


def said(label: str, names: Mapping[str, str]) -> str:
    """A judge's label in the folder's words."""
    first = label.split("/", 1)[0]
    return names.get(label, names.get(first, first))
