"""The files of OFFSIDE: sets of conversations about a picture and sets of multiple-choice items, checked by field."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from mmunlearn.errors import UserError, near_miss
from mmunlearn.tables import Record, read_text

from ..answer_words import answer_words
from ._fiubench_files import text_field

DATA = "data"
COMPLETE, SELECTIVE, TEXT = "complete_unlearning_data", "selective_unlearning_data", "pure_text_data"
PICTURES = "finetune_set"
LETTERS = ("A", "B", "C", "D")
TAG = "<image>"
ROLES = ("user", "assistant")
PLACE = re.compile(
    r"\b(left|right|upper|lower|top|bottom)\b[^.?!]*\b(side|part|half|corner|of the (image|picture|photo))"
)


@dataclass(frozen=True)
class Item:
    """A question with its answer. picture: the file, which is there; stem: its name without suffix, the sample id.

    options: of multiple choice ("" none), the answer is then a letter.
    """

    picture: Path
    question: str
    answer: str
    options: tuple[str, ...] = ()

    @property
    def stem(self) -> str:
        return self.picture.stem

    @property
    def keywords(self) -> tuple[str, ...]:
        """Words of the answer that carry the fact; the place in the picture is no part of the question then."""
        return answer_words(PLACE.sub("", self.question.lower()), self.answer)

    @property
    def placed(self) -> bool:
        """Whether the question speaks of a part of the picture: composite pictures, whose rumour is drawn in."""
        return PLACE.search(self.question.lower()) is not None


def find_folder(root: Path, what: str) -> Path:
    """The folder that holds the three folders of sets: `root` or `root/data`."""
    for folder in (root, root / DATA):
        if (folder / COMPLETE).is_dir():
            return folder
    raise UserError(f"{root}: no {COMPLETE} here nor under {DATA}/. offside needs: {what}")


def read_set(path: Path, image_tag: Literal["strip", "keep"] = "strip") -> list[Item]:
    """Conversations of one question and one answer each.

    image_tag: take the literal `<image>` (and the line break after it) out of the questions, or leave it there as the
    reference does. Raises UserError naming file, record and field of the first fault, and counts missing pictures.
    """
    items = []
    for record in _records(path):
        question, answer = _turns(record)
        if image_tag == "strip":
            question = re.sub(rf"[ \t]*{TAG}\n?", "", question).strip()
            if not question:
                raise record.fault(f"messages[0].content holds nothing beside {TAG}.")
        items.append(Item(_picture(record), question, answer))
    return _present(path, items)


def read_choices(path: Path) -> list[Item]:
    """Multiple-choice items: four options, the letter of the right one."""
    items = []
    for record in _records(path):
        question, letter = text_field(record, "Question").strip(), text_field(record, "Correct_Answer").strip()
        options = record.get("Options")
        if not isinstance(options, dict) or tuple(options) != LETTERS:
            raise record.fault(f"Options must be four texts called A, B, C and D in this order (got {options!r:.80}).")
        texts = tuple(text_field(Record(path, record.line, options), name, "Options").strip() for name in LETTERS)
        if letter not in LETTERS:
            raise record.fault(f"Correct_Answer must be A, B, C or D (got {letter!r:.40}).")
        items.append(Item(_picture(record), question, letter, texts))
    return _present(path, items)


def _records(path: Path) -> list[Record]:
    if not path.is_file():
        beside = [file.name for file in path.parent.glob("*.json")] if path.parent.is_dir() else []
        hint = f" {near_miss(path.name, beside)}" if beside else ""
        raise UserError(f"{path}: no such file.{hint}")
    try:
        content = json.loads(read_text(path))
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}). Fetch the file again.") from None
    if not isinstance(content, list) or not content:
        raise UserError(f"{path}: must be a JSON list with at least one record (got {type(content).__name__}).")
    for number, row in enumerate(content, start=1):
        if not isinstance(row, dict):
            raise UserError(f"{path}, line {number}: record is a {type(row).__name__}, not an object.")
    return [Record(path, number, row) for number, row in enumerate(content, start=1)]


def _turns(record: Record) -> tuple[str, str]:
    turns = record.get("messages")
    if not isinstance(turns, list) or len(turns) != len(ROLES):
        raise record.fault("messages must be a list of one question and one answer.")
    texts = []
    for at, (turn, role) in enumerate(zip(turns, ROLES, strict=True)):
        if not isinstance(turn, dict) or turn.get("role") != role:
            said = turn.get("role") if isinstance(turn, dict) else turn
            raise record.fault(f"messages[{at}].role must be {role!r} (got {said!r:.40}).")
        texts.append(text_field(Record(record.path, record.line, turn), "content", f"messages[{at}]").strip())
    return texts[0], texts[1]


def _picture(record: Record) -> Path:
    """The picture: below the set's own folder, else by its bare name among those of the complete setting."""
    value: Any = record.get("images")
    if isinstance(value, list):
        raise record.fault("images is a list; this data set names one picture by a text.")
    value = text_field(record, "images")
    parts = PurePosixPath(value.replace("\\", "/")).parts
    if value.startswith("/") or ".." in parts or not parts or (len(parts[0]) == 2 and parts[0][1] == ":"):
        raise record.fault(f"images {value!r:.80} is not a path below the data.")
    own = record.path.parent.joinpath(*parts)
    if own.is_file():
        return own
    return record.path.parent.parent / COMPLETE / PICTURES / parts[-1]


def _present(path: Path, items: Sequence[Item]) -> list[Item]:
    missing = sorted({item.picture for item in items if not item.picture.is_file()})
    if missing:
        count = len({item.picture for item in items})
        raise UserError(
            f"{path}: {len(missing):,} of the {count:,} pictures that it names are missing (first: {missing[0]}). "
            "Unpack the pictures beside the JSON files."
        )
    return list(items)
