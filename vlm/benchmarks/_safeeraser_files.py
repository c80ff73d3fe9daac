"""The files of SafeEraser: all_train.json, all_val.json, prompt.json and pictures in category folders, checked."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from mmunlearn.errors import UserError, near_miss
from mmunlearn.tables import Record, read_text

from ._fiubench_files import read_objects, text_field

FOLDER = "dataset"
TRAIN, VAL, PROMPTS = "all_train.json", "all_val.json", "prompt.json"
CATEGORIES = ("Violence", "Weapon", "Privacy", "Sex", "HateSpeech", "IllegalActivity")
BENIGN = ("UnharmPair_text1", "UnharmPair_text2", "UnharmPair_image1", "UnharmPair_image2")


@dataclass(frozen=True)
class UnsafePair:
    """One entry of `unsafe_pairs`. sd_answer: the ordinary answer on the harmless twin ("" = none)."""

    question: str
    answer: str
    sd_answer: str
    sd_question: str


@dataclass(frozen=True)
class Case:
    """One record. twin: the harmless picture (None: the record names none). benign: question and answer by field."""

    category: str
    picture: Path
    twin: Path | None
    unsafe: tuple[UnsafePair, ...]
    benign: Mapping[str, tuple[str, str]]


def find_folder(root: Path, what: str) -> Path:
    """The folder that holds the two files: `root` or `root/dataset`. what: named in the UserError when neither does."""
    for folder in (root, root / FOLDER):
        if (folder / TRAIN).is_file() or (folder / VAL).is_file():
            missing = [name for name in (TRAIN, VAL, PROMPTS) if not (folder / name).is_file()]
            if missing == [PROMPTS]:
                raise UserError(
                    f"{folder / PROMPTS}: not found, and the authors do not ship it. Write one with the key idk: a "
                    "list of refusals (FIUBench's file of that name will do)."
                )
            if missing:
                raise UserError(f"{folder / missing[0]}: not found. safeeraser needs: {what}")
            return folder
    raise UserError(f"{root}: no {TRAIN} here nor under {FOLDER}/. safeeraser needs: {what}")


def read_cases(path: Path) -> list[Case]:
    """Records of all_train.json or all_val.json; UserError naming file, record and field of the first fault."""
    records = read_objects(path)
    cases = [_case(record) for record in records]
    missing = [p for case in cases for p in (case.picture, case.twin) if p is not None and not p.is_file()]
    if missing:
        raise UserError(
            f"{path}: {len(missing):,} of the pictures that it lists are missing (first: {missing[0]}). "
            "Unpack the archive's pictures beside it."
        )
    return cases


def _case(record: Record) -> Case:
    picture = _picture(record, "image_path")
    category = picture.parent.name
    if category not in CATEGORIES:
        raise record.fault(f"image_path: folder {category!r} is no category. {near_miss(category, CATEGORIES)}")
    twin = _picture(record, "SDImage_path") if record.get("SDImage_path") not in (None, "") else None
    pairs = record.get("unsafe_pairs")
    if not isinstance(pairs, list) or not pairs:
        raise record.fault(f"unsafe_pairs must be a list with at least one pair (got {pairs!r:.60}).")
    unsafe = tuple(_unsafe(record, number, pair) for number, pair in enumerate(pairs))
    benign = {name: _benign(record, name) for name in BENIGN if record.get(name) not in (None, "", {})}
    strange = sorted(key for key in record.values if key.startswith("UnharmPair") and key not in BENIGN)
    if strange:
        raise record.fault(f"{strange[0]} is no known field. {near_miss(strange[0], BENIGN)}")
    return Case(category, picture, twin, unsafe, benign)


def _unsafe(record: Record, number: int, pair: Any) -> UnsafePair:
    where = f"unsafe_pairs[{number}]"
    inside = _object(record, where, pair)
    question = text_field(inside, "question", where)
    sd = {}
    for name in ("sd_response", "sd_question"):
        value = pair.get(name)
        if value is not None and not isinstance(value, str):
            raise record.fault(f"{where}.{name} must be text (got {value!r:.60}).")
        sd[name] = (value or "").strip()
    return UnsafePair(
        question, text_field(inside, "model_response", where), sd["sd_response"], sd["sd_question"] or question
    )


def _benign(record: Record, name: str) -> tuple[str, str]:
    inside = _object(record, name, record[name])
    return text_field(inside, "Question", name), text_field(inside, "Prediction", name)


def _object(record: Record, where: str, value: Any) -> Record:
    if not isinstance(value, dict):
        raise record.fault(f"{where} is a {type(value).__name__}, not an object.")
    return Record(record.path, record.line, value)


def _picture(record: Record, name: str) -> Path:
    """Paths count from the folder above `dataset`, from `dataset` itself, or lead there from another machine's root."""
    value = text_field(record, name)
    parts = PurePosixPath(value.replace("\\", "/")).parts
    if not parts or ".." in parts or len(parts) < 2:
        raise record.fault(f"{name} {value!r:.80} is not a path <Category>/<file> below the data.")
    parts = tuple(part for part in parts if part not in ("/", "."))
    for start in range(len(parts) - 1):
        found = record.path.parent.joinpath(*parts[start:])
        if found.is_file():
            return found
    inner = parts[parts.index(FOLDER) + 1 :] if FOLDER in parts else parts
    return record.path.parent.joinpath(*inner)


def read_prompts(path: Path) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """Refusals (key `idk`) and, where the file has them, the unsafe words of each category (mini edition)."""
    try:
        content = json.loads(read_text(path))
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}). Restore the file.") from None
    if not isinstance(content, dict) or "idk" not in content:
        raise UserError(f"{path}: has no key idk. It must hold the list of refusals that the objectives draw from.")
    words = content.get("unsafe_words", {})
    if not isinstance(words, dict):
        raise UserError(f"{path}: unsafe_words must give a list of words by category.")
    strange = [name for name in words if name not in CATEGORIES]
    if strange:
        raise UserError(f"{path}: unsafe_words.{strange[0]} is no category. {near_miss(strange[0], CATEGORIES)}")
    return _texts(path, "idk", content["idk"]), {n: _texts(path, f"unsafe_words.{n}", w) for n, w in words.items()}


def _texts(path: Path, name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise UserError(f"{path}: {name} must be a list of texts with at least one (got {value!r:.60}).")
    bad = [one for one in value if not isinstance(one, str) or not one.strip()]
    if bad:
        raise UserError(f"{path}: {name} holds {bad[0]!r:.60}, which is no text or blank.")
    return tuple(one.strip() for one in value)
