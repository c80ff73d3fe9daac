"""The files of FIUBench: full.json, split.json and idontknow.json, checked field by field."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from mmunlearn.errors import UserError, near_miss
from mmunlearn.tables import Record, read_text, unique

FOLDER = "dataset"
FULL, SPLITS, REFUSALS, PROMPTS, UNSEEN = "full.json", "split.json", "idontknow.json", "prompt.json", "unseen.json"
IDENTITIES = 400  # the reference reads no more records than these


@dataclass(frozen=True)
class Question:
    """One entry of `qa_list`."""

    question: str
    answer: str
    paraphrased_questions: tuple[str, ...]
    paraphrased_answer: str
    perturbed_answers: tuple[str, ...]
    keywords: tuple[str, ...]


@dataclass(frozen=True)
class Identity:
    """One record of full.json. picture: the file, which is there."""

    key: str
    picture: Path
    questions: tuple[Question, ...]


def find_folder(root: Path, what: str) -> Path:
    """The folder that holds full.json: `root` or `root/dataset`. what: named in the UserError when neither does."""
    for folder in (root, root / FOLDER):
        if (folder / FULL).is_file():
            return folder
    raise UserError(f"{root}: no {FULL} here nor under {FOLDER}/. fiubench needs: {what}")


def read_identities(path: Path, most: int | None = None) -> list[Identity]:
    """Records of a file like full.json (a JSON list, or one object a line), at most the first `most`.

    Raises UserError naming file, line (record, in a list) and field of the first fault, and counts missing pictures.
    """
    records = read_objects(path)[:most]
    for record in records:
        text_field(record, "unique_id")
    unique(records, "unique_id")
    identities = [_identity(record) for record in records]
    missing = [one.picture for one in identities if not one.picture.is_file()]
    if missing:
        raise UserError(
            f"{missing[0].parent}: {len(missing):,} of the {len(identities):,} pictures that {path.name} lists are "
            f"missing (first: {missing[0].name}). Unpack SFHQ.zip there."
        )
    return identities


def read_objects(path: Path) -> list[Record]:
    """The objects of a file that is one JSON list or has one JSON object a line."""
    text = read_text(path)
    try:
        content = json.loads(text)
    except ValueError:
        content = None
    if content is None:
        lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
        rows = [(number, _json(path, number, line)) for number, line in lines]
    else:
        rows = list(enumerate(content if isinstance(content, list) else [content], start=1))
    for number, row in rows:
        if not isinstance(row, dict):
            raise UserError(f"{path}, line {number}: holds a {type(row).__name__}, not an object with named values.")
    if not rows:
        raise UserError(f"{path}: is empty. Restore the file.")
    return [Record(path, number, row) for number, row in rows]


def _json(path: Path, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise UserError(f"{path}, line {number}: not JSON ({error}). Fetch the file again.") from None


def _identity(record: Record) -> Identity:
    questions = record.get("qa_list")
    if not isinstance(questions, list) or not questions:
        raise record.fault("qa_list is no list of questions, or is empty.")
    return Identity(
        key=record["unique_id"],
        picture=_picture(record),
        questions=tuple(_question(record, number, entry) for number, entry in enumerate(questions)),
    )


def _question(record: Record, number: int, entry: Any) -> Question:
    where = f"qa_list[{number}]"
    if not isinstance(entry, dict):
        raise record.fault(f"{where} is a {type(entry).__name__}, not an object.")
    inside = Record(record.path, record.line, entry)
    return Question(
        question=text_field(inside, "question", where),
        answer=text_field(inside, "answer", where),
        paraphrased_questions=_texts(inside, "paraphrased_question", where),
        paraphrased_answer=text_field(inside, "paraphrased_answer", where),
        perturbed_answers=_texts(inside, "perturbed_answer", where),
        keywords=_texts(inside, "keywords", where),
    )


def text_field(record: Record, name: str, where: str = "") -> str:
    """The value called `name`, which must be text that is not blank; UserError otherwise."""
    title = f"{where}.{name}" if where else name
    if name not in record.values:
        hint = near_miss(name, record.values)
        raise record.fault(f"{title} is missing. {hint if hint.startswith('Did') else 'Restore the record.'}")
    value = record[name]
    if not isinstance(value, str) or not value.strip():
        raise record.fault(f"{title} must be text that is not blank (got {value!r:.60}).")
    return value


def _texts(record: Record, name: str, where: str) -> tuple[str, ...]:
    """A list of texts with at least one; line breaks inside a text become blanks, since tags join texts by them."""
    value = record.get(name)
    if not isinstance(value, list) or not value:
        raise record.fault(f"{where}.{name} must be a list of texts with at least one (got {value!r:.60}).")
    bad = [one for one in value if not isinstance(one, str) or not one.strip()]
    if bad:
        raise record.fault(f"{where}.{name} holds {bad[0]!r:.60}, which is no text or blank.")
    return tuple(one.replace("\n", " ") for one in value)


def _picture(record: Record) -> Path:
    """`image_path` counts from the folder above `dataset`; the hub's files lie in one folder without that name."""
    value = text_field(record, "image_path")
    parts = PurePosixPath(value.replace("\\", "/")).parts
    if value.startswith("/") or ".." in parts or not parts:
        raise record.fault(f"image_path {value!r:.80} is not a path below the data.")
    inner = parts[1:] if parts[0] == FOLDER else parts
    return record.path.parent.joinpath(*inner)


def read_split_lists(path: Path, known: Sequence[str], needed: Sequence[str]) -> dict[str, frozenset[str]]:
    """Identities of each list of split.json. Raises UserError for a list that is missing, repeats an identity, or names
    one that full.json has not."""
    try:
        content = json.loads(read_text(path))
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}). Restore the file.") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds a {type(content).__name__}, not lists by name.")
    lists = {}
    for name in needed:
        if name not in content:
            raise UserError(f"{path}: has no list {name}. {near_miss(name, content)}")
        ids = content[name]
        if not isinstance(ids, list) or not ids or not all(isinstance(key, str) for key in ids):
            raise UserError(f"{path}: {name} must be a list of identities written as text, with at least one.")
        if len(set(ids)) != len(ids):
            raise UserError(f"{path}: {name} names {next(k for k in ids if ids.count(k) > 1)} twice. Keep one.")
        strange = sorted(set(ids) - set(known))
        if strange:
            raise UserError(
                f"{path}: {name} names {len(strange):,} identities that {FULL} has not among those read (first: "
                f"{strange[0]}). Take both files from one revision."
            )
        lists[name] = frozenset(ids)
    return lists


def check_disjoint(path: Path, lists: Mapping[str, frozenset[str]], first: str, second: str) -> None:
    """Raise UserError when two lists share an identity."""
    shared = sorted(lists[first] & lists[second])
    if shared:
        raise UserError(f"{path}: {shared[0]} is in {first} and in {second}. The two must share no identity.")


def read_refusals(folder: Path) -> tuple[str, ...]:
    """The refusal sentences: idontknow.json (a list, or a list called "normal" or "idk"), else "idk" of prompt.json."""
    path = next((folder / name for name in (REFUSALS, PROMPTS) if (folder / name).is_file()), folder / REFUSALS)
    text = read_text(path)
    try:
        content = json.loads(text)
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}). Restore the file.") from None
    if isinstance(content, dict):
        content = next((content[name] for name in ("idk", "normal") if name in content), None)
    if not isinstance(content, list) or not content:
        raise UserError(f'{path}: holds no list of refusals (a list, or one called "normal" or "idk").')
    for number, sentence in enumerate(content, start=1):
        if not isinstance(sentence, str) or not sentence.strip():
            raise UserError(f"{path}: refusal {number} is no text or blank (got {sentence!r:.60}).")
    return tuple(sentence.strip() for sentence in content)
