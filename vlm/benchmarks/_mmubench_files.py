"""Readers of what lies beside MMUBench's concept folders: the record of what the original saw, and plain questions."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from mmunlearn.data import Example, ImageRef
from mmunlearn.errors import UserError
from mmunlearn.tables import Record, read_jsonl

from ..concepts.book import Book

KINDS = ("name", "presence", "absence", "fact", "hop", "language", "other")


@dataclass(frozen=True)
class Seen:
    """One question and answer of the original's training. image: its path below the root, "" for text."""

    image: str
    example: Example


def read_seen(path: Path, book: Book) -> list[Seen]:
    """Rows of seen.jsonl {concept, image, kind, question, answer, keywords}; `concept` and `image` may be empty.

    Raises UserError naming file, line and field for an unknown concept or kind, an empty text, a picture that is
    missing or leads out of the folder.
    """
    columns = {"concept": (), "image": (), "kind": (), "question": (), "answer": (), "keywords": ()}
    rows = []
    for number, record in enumerate(read_jsonl(path, columns)):
        if record["kind"] not in KINDS:
            raise record.fault(f"kind {record['kind']!r} is unknown. Allowed: {', '.join(KINDS)}.")
        concept = record["concept"]
        if concept and (not isinstance(concept, str) or concept not in book):
            raise record.fault(f"concept {concept!r} has no card in {book.path.name}.")
        slug = book[concept].slug if concept else ""
        names = "\n".join(book[concept].names) if concept else ""
        image = picture(record, "image", path.parent)
        example = Example(
            id=f"mmubench/seen/{number:05d}", image=image, prompt=text(record, "question"),
            target=text(record, "answer"),
            tags={
                "concept": slug, "kind": record["kind"], "keywords": "\n".join(words(record, "keywords")),
                "names": names,
            },
        )  # fmt: skip
        rows.append(Seen(str(record["image"] or ""), example))
    return rows


def read_plain(path: Path) -> list[Example]:
    """Questions of vqa.jsonl {image, question, answer, keywords?, source?}: ids "mmubench/specificity/vqa/<row>".

    `source` names the benchmark that a question stands for (GQA, POPE, …); the metric takes the mean over sources.
    keywords: any of them makes an answer right; the answer itself when left out.
    """
    columns = {"image": (), "question": (), "answer": (), "keywords": (), "source": ()}
    made = []
    for number, record in enumerate(read_jsonl(path, columns, optional=("keywords", "source"))):
        answer = text(record, "answer")
        keywords = words(record, "keywords") or [answer]
        made.append(
            Example(
                id=f"mmubench/specificity/vqa/{number:05d}", image=picture(record, "image", path.parent),
                prompt=text(record, "question"), target=answer,
                tags={
                    "kind": "other", "keywords": "\n".join(keywords), "source": str(record.get("source") or "vqa"),
                },
            )
        )  # fmt: skip
    return made


def text(record: Record, column: str) -> str:
    """A value that must be text with something in it."""
    value = record[column]
    if not isinstance(value, str) or not value.strip():
        raise record.fault(f"{column} is empty or no text ({value!r}).")
    return value


def words(record: Record, column: str) -> list[str]:
    """A list of words; none where the column is missing."""
    value: Any = record.get(column) or []
    if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(v, str) and v for v in value):
        raise record.fault(f"{column} {value!r} is not a list of words.")
    return list(value)


def picture(record: Record, column: str, root: Path) -> ImageRef | None:
    """The picture that a path below `root` names; None for an empty one."""
    value = record[column]
    if not value:
        return None
    parts = PurePosixPath(value).parts if isinstance(value, str) else ()
    if not parts or ".." in parts or value.startswith("/"):
        raise record.fault(f"{column} {value!r} is not a path below {root}.")
    path = root / value
    if not path.is_file():
        raise UserError(f"{record.path}, line {record.line}: {column} {value} does not exist below {root}.")
    return ImageRef(path=path)
