"""ScienceQA and MMBench: questions with lettered options."""

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmunlearn.data import Example, ImageRef
from mmunlearn.errors import UserError
from mmunlearn.tables import read_parquet

from .source import UtilitySource, field, lettered, one_file, read_json, text_of

LETTERS = "ABCDEFGHIJ"


def read_scienceqa(source: UtilitySource) -> Iterator[Example]:
    """ScienceQA: problems.json {id: {question, choices, answer (index), hint, image, split}} with pictures
    images/<split>/<id>/<image>, or parquet (question, choices, answer, hint, image bytes). Only questions with a
    picture (SQA-I); split: test unless set."""
    if source.folder.is_dir() and not list(source.folder.rglob("problems.json")):
        yield from _scienceqa_parquet(source)
        return
    path = one_file(source, ("problems.json",), "problems")
    wanted = source.split or "test"
    content = read_json(path)
    if not isinstance(content, Mapping):
        raise UserError(f"{path}: holds a {type(content).__name__}, not problems by their id.")
    for key, row in content.items():
        where = f"{path}, problem {key}"
        if field(row, "split", where) != wanted or not row.get("image"):
            continue
        name = f"{wanted}/{key}/{row['image']}"
        yield _choice(source, key, row, where, source.picture(name, where, "images", ""))


def _scienceqa_parquet(source: UtilitySource) -> Iterator[Example]:
    wanted = source.split or "test"
    files = [path for path in sorted(source.folder.rglob("*.parquet")) if path.name.startswith(wanted)]
    if not files:
        raise UserError(f"{source.folder}: holds neither problems.json nor {wanted}*.parquet of ScienceQA.")
    columns: dict[str, tuple[str, ...]] = {"question": (), "choices": (), "answer": (), "hint": (), "image": ()}
    for path in files:
        for record in read_parquet(path, columns, optional=("hint",)):
            image = record["image"]
            if not isinstance(image, Mapping) or not isinstance(image.get("bytes"), bytes):
                continue
            key = f"{path.stem}-{record.line}"
            where = f"{path}, row {record.line}"
            yield _choice(source, key, record.values, where, ImageRef(content=image["bytes"]))


def _choice(source: UtilitySource, key: Any, row: Any, where: str, image: ImageRef) -> Example:
    options, answer = field(row, "choices", where), field(row, "answer", where)
    if not isinstance(options, list) or not 2 <= len(options) <= len(LETTERS):
        raise UserError(f"{where}: choices is {options!r}, not a list of 2 to {len(LETTERS)} options.")
    if isinstance(answer, bool) or not isinstance(answer, int) or not 0 <= answer < len(options):
        raise UserError(f"{where}: answer is {answer!r}, not a place in {len(options)} choices.")
    question = text_of(row, "question", where)
    return _lettered_example(source, (key, str(row.get("hint") or ""), question), options, LETTERS[answer], image)


def _lettered_example(
    source: UtilitySource, asked: tuple[Any, str, str], options: Sequence[Any], letter: str, image: ImageRef
) -> Example:
    key, hint, question = asked
    names = [" ".join(str(option).split()) for option in options]
    body = "\n".join(part for part in (hint.strip(), question, lettered(names)) if part)
    return Example(
        id=f"utility/{source.title}/{key}", image=image, prompt=source.asked(body), target=letter,
        tags={"options": "\n".join(names)},
    )  # fmt: skip


def read_mmbench(source: UtilitySource) -> Iterator[Example]:
    """MMBench: a tab-separated file with index, question, A to D, answer, image (base64, or the index of the row whose
    picture is meant) and optionally hint, category, split. Every row is asked once: no circular evaluation."""
    path = one_file(source, ("*.tsv",), "MMBench table")
    rows = _tsv(path, ("index", "question", "A", "B", "answer", "image"))
    pictures = {row["index"]: row["image"] for row in rows}
    for row in rows:
        where = f"{path}, index {row['index']}"
        if source.split and row.get("split", source.split) != source.split:
            continue
        image = row["image"]
        if len(image) < 20 and image in pictures:
            image = pictures[image]
        options = []
        for letter in LETTERS:
            if letter not in row or row[letter].strip() in ("", "nan"):
                break
            options.append(row[letter])
        answer = row["answer"].strip().upper()
        if len(options) < 2 or answer not in LETTERS[: len(options)] or not answer:
            raise UserError(f"{where}: answer is {row['answer']!r}, not the letter of one of {len(options)} options.")
        if not row["question"].strip():
            raise UserError(f"{where}: question is empty.")
        hint = row.get("hint", "")
        asked = (row["index"], "" if hint == "nan" else hint, row["question"].strip())
        yield _lettered_example(source, asked, options, answer, ImageRef(content=_decoded(image, where)))


def _decoded(text: str, where: str) -> bytes:
    try:
        content = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        content = b""
    if not content:
        raise UserError(f"{where}: image is not base64 ({text[:24]!r}). Fetch the file again.")
    return content


def _tsv(path: Path, needed: Sequence[str]) -> list[dict[str, str]]:
    """Rows of a tab-separated file with a header, all values text; fields may be megabytes long and hold newlines."""
    import pyarrow
    from pyarrow import csv

    try:
        with open(path, encoding="utf-8-sig") as stream:
            names = stream.readline().rstrip("\r\n").split("\t")
        missing = [name for name in needed if name not in names]
        if missing:
            raise UserError(f"{path}: no column {missing[0]}. Columns: {', '.join(names)[:200]}.")
        table = csv.read_csv(
            path,
            read_options=csv.ReadOptions(block_size=1 << 28),
            parse_options=csv.ParseOptions(delimiter="\t", newlines_in_values=True),
            convert_options=csv.ConvertOptions(column_types={name: pyarrow.string() for name in names}),
        )
    except (OSError, UnicodeDecodeError, pyarrow.ArrowException) as error:
        raise UserError(f"{path}: not a readable tab-separated file ({' '.join(str(error).split())[:160]}).") from None
    if not table.num_rows:
        raise UserError(f"{path}: has a header and no rows. Restore the file.")
    return [{name: value or "" for name, value in row.items()} for row in table.to_pylist()]
