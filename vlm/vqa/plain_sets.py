"""A plain table of pictures, questions and answers: CSV, JSON lines or parquet."""

from collections.abc import Iterator

from mmunlearn.data import Example, ImageRef
from mmunlearn.tables import Record, read_table

from .source import UtilitySource, one_file

COLUMNS = {"image": ("image_path",), "question": ("prompt",), "answer": ("answers",), "id": ()}


def read_plain(source: UtilitySource) -> Iterator[Example]:
    """Columns image (a path below the root, or bytes), question, answer (or answers: a list, or text with one answer a
    line) and optionally id."""
    path = one_file(source, ("*.csv", "*.jsonl", "*.parquet"), "table")
    for record in read_table(path, COLUMNS, optional=("id",)):
        answers = _answers(record)
        if not isinstance(record["question"], str) or not record["question"].strip():
            raise record.fault("question is empty.")
        yield Example(
            id=f"utility/{source.title}/{record.get('id', record.line)}", image=_picture(source, record),
            prompt=source.asked(record["question"]), target=max(dict.fromkeys(answers), key=answers.count),
            tags={"answers": "\n".join(answers)} if len(answers) > 1 else {},
        )  # fmt: skip


def _answers(record: Record) -> list[str]:
    value = record["answer"]
    found = value if isinstance(value, list) else str("" if value is None else value).split("\n")
    answers = [" ".join(str(answer).split()) for answer in found if str(answer).strip()]
    if not answers:
        raise record.fault("answer is empty.")
    return answers


def _picture(source: UtilitySource, record: Record) -> ImageRef:
    value = record["image"]
    if isinstance(value, dict) and isinstance(value.get("bytes"), bytes):
        return ImageRef(content=value["bytes"])
    if isinstance(value, bytes):
        return ImageRef(content=value)
    return source.picture(value, f"{record.path}, line {record.line}", "", "images")
