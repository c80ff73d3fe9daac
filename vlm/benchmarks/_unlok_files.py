"""Files of UnLOK-VQA: records, COCO pictures by number, rephrase and neighbour images by record or by place."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mmunlearn.errors import UserError
from mmunlearn.seeds import generator

from ..unlok.wording import LOC_MARK, first_words

log = logging.getLogger(__name__)

RECORDS = ("UNLOK-VQA.json", "zsre_mend_eval.json")  # the hub's name, and the one that the released loader expects
RETAIN = ("retain.json", "data/retain.json")
COCO = ("train2017", "val2017")
HARD = "paraphrase_images_hard/okvqa_yolo_dino_bert/processed_images/{id}.jpg"
REPHRASED = {
    "easy": "parap_images/okvqa/{id}.jpg", "medium": "parap_images_medium/okvqa/{id}.jpg", "hard": HARD,
}  # fmt: skip
NEIGHBOURS = {
    "easy": "neigh_easy/{id}_{j}.jpg", "medium": "neigh_med/{id}_{j}.jpg",
    "hard": "neighborhood_images_hard/okvqa/{id}_{j}.jpg",
}  # fmt: skip
Key = Literal["auto", "id", "index"]


@dataclass(frozen=True)
class Record:
    """One fact. index: its place in the file, from 0. neighbours: question and first word of the answer.

    alternative: another answer, which error injection teaches; neighbour: number of the answer that the neighbour
    images show, and that answer.
    """

    id: int
    index: int
    image_id: int
    question: str
    answer: str
    subject: str
    rephrased: tuple[str, ...]
    neighbours: tuple[tuple[str, str], ...]
    alternative: str
    neighbour: tuple[int, str]
    object: str  # the first edited object, which fills the jailbreak templates

    @property
    def key(self) -> str:
        """Part of its examples' ids."""
        return f"{self.id:05d}"


def find_file(root: Path, names: Sequence[str], what: str) -> Path:
    """The first of `names` that is there. Raises UserError with what the root must hold."""
    for name in names:
        if (root / name).is_file():
            return root / name
    raise UserError(f"{root}: no {names[0]} in it. It must hold: {what}")


def read_records(path: Path, seed: int = 0) -> list[Record]:
    """Records in file order by the released loader's rules: those without subject, neigh_idx or loc, and those whose
    question holds the subject twice, are left out with a word in the log.

    seed: of the answer that stands in for a missing alternative. Raises UserError for anything malformed.
    """
    entries = _list(path)
    found, dropped = [], 0
    ids: dict[Any, Any] = {}
    answers = [str(entry.get("pred", "")) for entry in entries if isinstance(entry, Mapping)]
    for index, entry in enumerate(entries):
        if not isinstance(entry, Mapping):
            raise UserError(f"{path}: entry {index} is {type(entry).__name__}, not a record. Restore the file.")
        record = _record(path, index, entry, answers, seed)
        if record is None:
            dropped += 1
            continue
        if record.id in ids:
            raise UserError(f"{path}: id {record.id} stands at entries {ids[record.id]} and {index}. Remove one.")
        ids[record.id] = index
        found.append(record)
    if not found:
        raise UserError(f"{path}: none of its {len(entries)} records has subject, neigh_idx and loc. Restore the file.")
    if dropped:
        log.warning("%s: %d of %d records left out (no subject, neigh_idx or loc)", path, dropped, len(entries))
    return found


def _list(path: Path) -> list[Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8 text. Restore the file.") from None
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}). Restore the file.") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from None
    if not isinstance(content, list):
        raise UserError(f"{path}: holds a {type(content).__name__}, not a list of records. Restore the file.")
    if not content:
        raise UserError(f"{path}: is an empty list. Restore the file.")
    return content


def _record(path: Path, index: int, entry: Mapping[str, Any], answers: Sequence[str], seed: int) -> Record | None:
    """The record, or None where the loader's rules leave it out."""
    where = f"{path}: entry {index}"
    number, image = (_number(where, entry, name) for name in ("id", "image_id"))
    question, answer = (_text(where, entry, name) for name in ("src", "pred"))
    if not entry.get("subject") or not entry.get("neigh_idx") or not entry.get("loc"):
        return None
    subject = _text(where, entry, "subject")
    if question.count(subject) > 1:
        return None
    loc, loc_answers = (_texts(where, entry, name) for name in ("loc", "loc_ans"))
    if LOC_MARK not in loc[0]:
        raise UserError(f"{where}: loc[0] is {loc[0]!r} and must begin with {LOC_MARK!r}. Restore the file.")
    if len(loc) != len(loc_answers):
        raise UserError(f"{where}: {len(loc)} loc questions and {len(loc_answers)} loc_ans. Restore the file.")
    alternatives = [text for text in _texts(where, entry, "alt_ans", empty=True) if text.strip()]
    chosen = entry["neigh_idx"]
    if not isinstance(chosen, list) or not isinstance(chosen[0], int) or isinstance(chosen[0], bool):
        raise UserError(f"{where}: neigh_idx is {chosen!r} and must be a list of one number. Restore the file.")
    if alternatives and not 0 <= chosen[0] < len(alternatives):
        raise UserError(f"{where}: neigh_idx {chosen[0]} is no place among {len(alternatives)} alt_ans. Restore it.")
    if not alternatives:  # the released loader draws some other answer
        others = [other for other in answers if other and other != answer] or [answer]
        alternatives = [others[int(generator(seed, "unlok", number).integers(len(others)))]] * (chosen[0] + 1)
    objects = _texts(where, entry, "objects_edit", empty=True)
    pairs = zip((q.replace(LOC_MARK, "", 1) for q in loc), first_words(loc_answers), strict=True)
    return Record(
        number, index, image, question, answer, subject, tuple(_texts(where, entry, "rephrase", empty=True)),
        tuple(pair for pair in pairs if pair[1]), alternatives[0], (chosen[0], alternatives[chosen[0]]),
        objects[0] if objects else subject,
    )  # fmt: skip


def _number(where: str, entry: Mapping[str, Any], name: str) -> int:
    value = entry.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise UserError(f"{where}: {name} is {value!r} and must be a whole number. Restore the file.")
    return value


def _text(where: str, entry: Mapping[str, Any], name: str) -> str:
    value = entry.get(name)
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{where}: {name} is {value!r} and must be text. Restore the file.")
    return value.strip()


def _texts(where: str, entry: Mapping[str, Any], name: str, *, empty: bool = False) -> list[str]:
    value = entry.get(name, [] if empty else None)
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value) or not (value or empty):
        raise UserError(f"{where}: {name} is {value!r} and must be a list of texts. Restore the file.")
    return value


class Pictures:
    """Where the pictures of records lie; `missing` counts files that are not there, by folder."""

    def __init__(self, root: Path, records: Sequence[Record], key: Key = "auto"):
        self.root = root
        self.missing: dict[str, int] = {}
        self.key = self._decided(records) if key == "auto" else key

    def _decided(self, records: Sequence[Record]) -> Key:
        """The key under which more rephrase and neighbour images are found; the record's id among equals."""
        patterns = [*REPHRASED.values(), *NEIGHBOURS.values()]
        counts: dict[Key, int] = {"id": 0, "index": 0}
        for name in counts:
            for record in records:
                number = record.id if name == "id" else record.index
                found = ((self.root / p.format(id=number, j=record.neighbour[0])).is_file() for p in patterns)
                counts[name] += sum(found)
        log.info("%s: %d images by record id, %d by place in the list", self.root, counts["id"], counts["index"])
        return "index" if counts["index"] > counts["id"] else "id"

    def base(self, record: Record) -> Path:
        """The COCO picture. Raises UserError where neither folder has it."""
        name = f"{record.image_id:012d}.jpg"
        for folder in COCO:
            if (self.root / folder / name).is_file():
                return self.root / folder / name
        raise UserError(
            f"{self.root}: record {record.id} shows {name}, which is in neither {' nor '.join(COCO)}.\n"
            "Get COCO 2017 and put both folders there."
        )

    def level(self, record: Record, patterns: Mapping[str, str], level: str) -> Path | None:
        """A rephrase or neighbour image; None (and counted) where it is not there."""
        number = record.id if self.key == "id" else record.index
        place = patterns[level].format(id=number, j=record.neighbour[0])
        if (self.root / place).is_file():
            return self.root / place
        folder = place.partition("/")[0]
        self.missing[folder] = self.missing.get(folder, 0) + 1
        return None

    def tell(self) -> None:
        """One line in the log on what is missing."""
        if self.missing:
            listed = ", ".join(f"{folder} {count}" for folder, count in sorted(self.missing.items()))
            log.warning("%s: images that are not there (left out, never replaced): %s", self.root, listed)
