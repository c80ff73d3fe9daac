"""Rows: append-only JSON lines in shards, merged by id; and their columnar form, which metrics read."""

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from mmunlearn.errors import UserError

Row = Mapping[str, Any]


class Shard:
    """One process's append-only file of rows. A line cut off by a crash is dropped when the shard is read again."""

    def __init__(self, folder: Path, rank: int = 0):
        self.path = folder / f"rows-{rank:05d}.jsonl"

    def append(self, rows: Iterable[Row]) -> None:
        """Append rows (each with a unique `id`) and flush them to the disk."""
        text = "".join(json.dumps(_jsonable(row), sort_keys=True, ensure_ascii=False) + "\n" for row in rows)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            drop_torn_line(self.path)
            with open(self.path, "a", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise UserError(
                f"{self.path}: cannot be written ({error.strerror}). Free space or choose another folder."
            ) from error


def drop_torn_line(path: Path) -> None:
    """Cut off what a crash left of a last line, so that the next one starts on a line of its own."""
    if not path.exists() or path.stat().st_size == 0:
        return
    with open(path, "rb+") as stream:
        stream.seek(-1, os.SEEK_END)
        if stream.read(1) != b"\n":
            content = path.read_bytes()
            stream.truncate(content.rfind(b"\n") + 1)


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """Rows of all shards of `folder`, one per id, sorted by id; a torn last line is ignored."""
    merged: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("rows-*.jsonl")) if folder.is_dir() else ():
        lines = path.read_bytes().split(b"\n")
        for number, line in enumerate(lines[:-1], start=1):
            try:
                row = json.loads(line)
                merged.setdefault(row["id"], row)
            except (ValueError, KeyError, TypeError):
                raise UserError(f"{path}:{number}: not a JSON row. Delete the file; the run makes it again.") from None
    return [merged[key] for key in sorted(merged)]


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(item) for item in value]
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, (np.floating, np.integer, np.bool_)):
        return value.item()
    return value


@dataclass(frozen=True)
class Rows:
    """Rows as columns. Arrays share their first axis with `ids`; text columns are object arrays.

    Columns that evaluations write: `nll` (nats, summed over the items), `count`, `logits` (n, item, vocab), `target`
    (n, item), `value` (the judge's verdict, NaN = unscored), `label`, `text`, and the example's tags as `tag.<name>`.
    """

    ids: tuple[str, ...]
    columns: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Self:
        """Columns of rows that all have the same fields (NaN or None where a row lacks one)."""
        names = sorted({name for row in rows for name in row if name != "id"})
        columns = {}
        for name in names:
            values = [row.get(name) for row in rows]
            numeric = all(v is None or isinstance(v, (int, float, bool, list)) for v in values)
            if numeric and any(isinstance(v, list) for v in values):
                try:
                    columns[name] = np.asarray(values, dtype=np.float64)
                    continue
                except (ValueError, TypeError):  # ragged
                    numeric = False
            if numeric:
                columns[name] = np.asarray([math.nan if v is None else v for v in values], dtype=np.float64)
            else:
                column = np.empty(len(values), dtype=object)
                column[:] = values
                columns[name] = column
        return cls(tuple(str(row["id"]) for row in rows), columns)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self.columns:
            raise UserError(f"rows hold no column {name!r}. Columns: {', '.join(sorted(self.columns)) or 'none'}.")
        return self.columns[name]

    def __contains__(self, name: object) -> bool:
        return name in self.columns

    def take(self, indices: Sequence[int] | np.ndarray) -> Self:
        """The rows at `indices`."""
        index = np.asarray(indices, dtype=np.int64)
        return type(self)(tuple(self.ids[i] for i in index), {k: v[index] for k, v in self.columns.items()})

    def sorted(self) -> Self:
        """Rows in the order of their ids: what makes a reduction independent of the order of arrival."""
        return self.take(np.argsort(np.asarray(self.ids, dtype=object), kind="stable") if self.ids else [])

    def with_column(self, name: str, values: np.ndarray) -> Self:
        """The same rows with one column added or replaced."""
        return type(self)(self.ids, {**self.columns, name: values})
