"""The files of MedForget: parquet rows of a picture, its place in the tree and its questions, checked by field."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmunlearn.data import ImageRef
from mmunlearn.errors import UserError, near_miss
from mmunlearn.tables import Record, read_parquet

from ..dicom import is_dicom, to_png
from ..hierarchy import LEVELS, SECTIONS, Node, level_of, task_of

COLUMNS: dict[str, tuple[str, ...]] = dict.fromkeys(
    ("image", "image_path", "metadata", "hierarchy_metadata", "ID"), ()
)
IDS = ("institution_id", "patient_id", "study_id")


@dataclass(frozen=True)
class Question:
    """One question of a row. key: "<ID>/<number in the row>"; node: where it belongs, down to its level."""

    key: str
    question: str
    answer: str
    level: str
    node: Node
    image: ImageRef

    @property
    def task(self) -> str:
        """generation, classification or cloze."""
        return task_of(self.question)


def level_file(root: Path, level: str, part: str, subset: str, what: str) -> Path:
    """`<root>/<level>_level/<part>_set_<subset>.parquet`; UserError where it is missing."""
    folder = root / f"{level}_level"
    if not folder.is_dir():
        present = [child.name for child in sorted(root.iterdir()) if child.is_dir()] if root.is_dir() else []
        hint = near_miss(folder.name, present) if present else "The folder holds no folders."
        raise UserError(f"{root}: no folder {folder.name}. {hint} medforget needs: {what}")
    path = folder / f"{part}_set_{subset}.parquet"
    if not path.is_file():
        names = [file.name for file in sorted(folder.glob("*.parquet"))]
        hint = near_miss(path.name, names) if names else "The folder holds no parquet file."
        raise UserError(f"{path}: no such file. {hint}")
    return path


def read_questions(path: Path) -> list[Question]:
    """All questions of a file, in its order. Raises UserError naming file, row and field of the first fault."""
    found: list[Question] = []
    seen: dict[str, int] = {}
    pictures: dict[bytes, ImageRef] = {}  # one for equal bytes, so that a picture is decoded once
    for record in read_parquet(path, COLUMNS, optional=("image_path", "hierarchy_metadata")):
        key = record["ID"]
        if not isinstance(key, str) or not key.strip():
            raise record.fault(f"ID must be text that is not blank (got {key!r:.60}).")
        if key in seen:
            raise record.fault(f"ID {key!r:.60} stands in line {seen[key]} too. Keep one row.")
        seen[key] = record.line
        image = _image(record, pictures)
        place = _place(record)
        for number, (question, answer) in enumerate(_metadata(record)):
            level = level_of(question, place.get("hierarchy_level", ""))
            node = _node(record, place, level)
            found.append(Question(f"{key}/{number}", question, answer, level, node, image))
    return found


def _image(record: Record, pictures: dict[bytes, ImageRef]) -> ImageRef:
    value = record["image"]
    content = value.get("bytes") if isinstance(value, Mapping) else value
    if not isinstance(content, bytes) or not content:
        raise record.fault("image holds no encoded picture. Fetch the file again.")
    if content not in pictures:
        where = f"{record.path}, line {record.line}"
        pictures[content] = ImageRef(content=to_png(content, where) if is_dicom(content) else content)
    return pictures[content]


def _metadata(record: Record) -> list[tuple[str, str]]:
    """Questions and answers; an answer that is a list is joined with blanks, as the reference does."""
    entries = _json(record, "metadata")
    if not isinstance(entries, list) or not entries:
        raise record.fault("metadata must be a JSON list of questions with at least one.")
    found = []
    for number, entry in enumerate(entries):
        where = f"metadata[{number}]"
        if not isinstance(entry, dict):
            raise record.fault(f"{where} is a {type(entry).__name__}, not an object.")
        for name in ("Question", "Answer"):
            if name not in entry:
                hint = near_miss(name, entry)
                raise record.fault(f"{where}.{name} is missing. {hint if hint.startswith('Did') else ''}".rstrip())
        question, answer = entry["Question"], entry["Answer"]
        if isinstance(answer, list) and answer and all(isinstance(part, str) for part in answer):
            answer = " ".join(answer)
        for name, text in (("Question", question), ("Answer", answer)):
            if not isinstance(text, str) or not text.strip():
                raise record.fault(f"{where}.{name} must be text that is not blank (got {text!r:.60}).")
        found.append((question.strip(), answer.strip()))
    return found


def _place(record: Record) -> dict[str, str]:
    """Ids of the row: of hierarchy_metadata, and where it lacks one, of image_path."""
    told = _json(record, "hierarchy_metadata") if record.get("hierarchy_metadata") else {}
    if not isinstance(told, dict):
        raise record.fault(f"hierarchy_metadata must be a JSON object (got {type(told).__name__}).")
    path = record.get("image_path")
    parts = [part for part in path.split("/") if part] if isinstance(path, str) else []
    place: dict[str, str] = {}
    for depth, name in enumerate(IDS):
        value: Any = told.get(name) or (parts[depth] if depth < len(parts) - 1 else None)
        if value is not None and (not isinstance(value, str | int) or "/" in str(value)):
            raise record.fault(f"hierarchy_metadata.{name} must be text without a slash (got {value!r:.60}).")
        if value is not None:
            place[name] = str(value)
    section = told.get("section_name") or ""
    if section and section not in SECTIONS:
        raise record.fault(
            f"hierarchy_metadata.section_name {section!r:.60} is unknown. {near_miss(str(section), SECTIONS)}"
        )
    level = told.get("hierarchy_level") or ""
    return {**place, "section": section, "hierarchy_level": str(level)}


def _node(record: Record, place: Mapping[str, str], level: str) -> Node:
    depth = LEVELS.index(level) + 1
    names = [place.get(name) for name in IDS[:depth]]
    missing = [name for name, value in zip(IDS, names, strict=False) if not value]
    if missing:
        raise record.fault(f"{missing[0]} stands neither in hierarchy_metadata nor in image_path.")
    # A question of section level in a row that names no section belongs to all of the study's report.
    return tuple(str(name) for name in names) + ((place["section"] or "REPORT",) if level == "section" else ())


def _json(record: Record, name: str) -> Any:
    value = record[name]
    if isinstance(value, list | dict):
        return value
    try:
        return json.loads(value)
    except (TypeError, ValueError) as error:
        raise record.fault(f"{name} is not JSON ({str(error)[:80]}). Fetch the file again.") from None
