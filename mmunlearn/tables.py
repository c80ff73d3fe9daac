"""Readers of tables: CSV, JSONL, parquet and folders of images become records that know their file and line.

A column is asked for by its own name and found under that name or an alias. Every fault names file, line and column.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from mmunlearn.data import Example, ImageRef
from mmunlearn.errors import UserError, near_miss

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
Aliases = Mapping[str, Sequence[str]]  # column -> other spellings of it


@dataclass(frozen=True)
class Record:
    """One row. `line`: of the text file, counted from one; of parquet and folders, the row counted from one."""

    path: Path
    line: int
    values: Mapping[str, Any]

    def __getitem__(self, column: str) -> Any:
        return self.values[column]

    def get(self, column: str, default: Any = None) -> Any:
        """The value, or `default` where the table has not the column."""
        return self.values.get(column, default)

    def fault(self, message: str) -> UserError:
        """The error that says `message` about this row."""
        return UserError(f"{self.path}, line {self.line}: {message}")


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, without a byte order mark. Raises UserError naming the first line that is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file.") from None
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise UserError(f"{path}, line {line}: not UTF-8 text. Save the file as UTF-8.") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from None


def read_table(path: Path, columns: Aliases, *, optional: Iterable[str] = ()) -> list[Record]:
    """Rows of a .csv, .jsonl or .parquet file, see the three readers; UserError for another suffix."""
    readers = {".csv": read_csv, ".jsonl": read_jsonl, ".parquet": read_parquet}
    if path.suffix not in readers:
        raise UserError(f"{path}: is no table. Allowed: {', '.join(readers)}.")
    return readers[path.suffix](path, columns, optional=optional)


def read_csv(path: Path, columns: Aliases, *, optional: Iterable[str] = ()) -> list[Record]:
    """Rows of a UTF-8 CSV file with a header, values stripped of white space; blank lines are passed over.

    Raises UserError when the file is missing, empty, not UTF-8 or not CSV, when a column that is not `optional` has
    none of its names in the header or two of them, and when a row has another number of fields than the header.
    """
    lines = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    rows = _csv_rows(path, lines)
    header = next(rows, None)
    if header is None:
        raise UserError(f"{path}: is empty. Expected a header with {', '.join(columns)}.")
    names = [name.strip() for name in header[1]]
    places = _places(path, names, columns, set(optional))
    records = []
    for line, values in rows:
        if len(values) != len(names):
            raise UserError(f"{path}, line {line}: {len(values)} fields where the header has {len(names)}.")
        records.append(Record(path, line, {name: values[place].strip() for name, place in places.items()}))
    if not records:
        raise UserError(f"{path}: has a header and no rows. Restore the file.")
    return records


def read_jsonl(path: Path, columns: Aliases, *, optional: Iterable[str] = ()) -> list[Record]:
    """Rows of a UTF-8 file with one JSON object a line; the same faults as `read_csv`, each line checked on its own."""
    records = []
    for line, text in enumerate(read_text(path).split("\n"), start=1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except ValueError as error:
            raise UserError(f"{path}, line {line}: not JSON ({error}).") from None
        if not isinstance(row, dict):
            raise UserError(f"{path}, line {line}: holds a {type(row).__name__}, not an object with named values.")
        names = list(row)
        places = _places(f"{path}, line {line}", names, columns, set(optional))
        records.append(Record(path, line, {name: row[names[place]] for name, place in places.items()}))
    if not records:
        raise UserError(f"{path}: is empty. Expected one JSON object a line with {', '.join(columns)}.")
    return records


def read_parquet(path: Path, columns: Aliases, *, optional: Iterable[str] = ()) -> list[Record]:
    """Rows of a parquet file; reads only the columns asked for. The same faults as `read_csv`."""
    import pyarrow
    from pyarrow import parquet

    if not path.is_file():
        raise UserError(f"{path}: no such file.")
    try:
        names = list(parquet.read_schema(path).names)
        places = _places(path, names, columns, set(optional))
        rows = parquet.read_table(path, columns=[names[place] for place in places.values()]).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"{path}: not a readable parquet file ({reason}). Fetch it again.") from None
    if not rows:
        raise UserError(f"{path}: has columns and no rows. Restore the file.")
    return [
        Record(path, number, {name: row[names[place]] for name, place in places.items()})
        for number, row in enumerate(rows, start=1)
    ]


def read_image_folder(path: Path) -> list[Record]:
    """Rows (image, label) of a folder that has one folder of pictures a label, sorted by label and file name."""
    if not path.is_dir():
        raise UserError(f"{path}: no such folder. Expected one folder of pictures a label.")
    records: list[Record] = []
    for folder in sorted(child for child in path.iterdir() if child.is_dir()):
        for name, file in sorted(image_files(folder).items()):
            row = {"image": f"{folder.name}/{name}", "label": folder.name}
            records.append(Record(file, len(records) + 1, row))
    if not records:
        raise UserError(f"{path}: holds no folder with pictures ({', '.join(IMAGE_SUFFIXES)}).")
    return records


def image_files(*folders: Path) -> dict[str, Path]:
    """Pictures by file name in `folders` (not below them). Raises UserError when two folders share a name."""
    found: dict[str, Path] = {}
    for folder in folders:
        for file in folder.iterdir():
            if file.suffix.lower() not in IMAGE_SUFFIXES:
                continue
            if file.name in found:
                raise UserError(f"{file}: the same name lies in {found[file.name].parent}. Remove one of them.")
            found[file.name] = file
    return found


def unique(records: Sequence[Record], column: str) -> None:
    """Raise UserError when two records have the same value in `column`; both lines are named."""
    seen: dict[Any, Record] = {}
    for record in records:
        value = record[column]
        if value in seen:
            count = len(records) - len({r[column] for r in records})
            more = f" ({count} such rows)" if count > 1 else ""
            raise record.fault(f"{column} {value!r} stands in line {seen[value].line} too{more}. Keep one row.")
        seen[value] = record


def plain_name(record: Record, column: str) -> str:
    """The value as a bare file name; UserError when it is empty or leads out of its folder."""
    value = str(record[column])
    if not value or value in {".", ".."} or "/" in value or "\\" in value or "\0" in value:
        raise record.fault(f"{column} {value!r} is not a file name.")
    return value


@dataclass(frozen=True, kw_only=True)
class ExampleColumns:
    """Which columns make an Example. image: a path under `images`, encoded bytes, or a mapping with "bytes"."""

    id: str = "id"
    image: str | None = None
    prompt: str | None = None
    target: str | None = None
    tags: tuple[str, ...] = ()
    images: Path | None = field(default=None)


def to_examples(records: Sequence[Record], prefix: str, columns: ExampleColumns) -> tuple[Example, ...]:
    """Examples with ids "<prefix>/<id>", in the records' order. Raises UserError for a repeated id or an empty one."""
    unique(records, columns.id)
    examples = []
    for record in records:
        if record[columns.id] in ("", None):
            raise record.fault(f"{columns.id} is empty.")
        examples.append(
            Example(
                id=f"{prefix}/{record[columns.id]}",
                image=_image(record, columns),
                prompt=None if columns.prompt is None else str(record[columns.prompt]),
                target=None if columns.target is None else record[columns.target],
                tags={name: str(record[name]) for name in columns.tags},
            )
        )
    return tuple(examples)


def _image(record: Record, columns: ExampleColumns) -> ImageRef | None:
    if columns.image is None:
        return None
    value = record[columns.image]
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return ImageRef(content=value)
    parts = PurePosixPath(value).parts if isinstance(value, str) else ()
    if not parts or ".." in parts or value.startswith("/"):
        raise record.fault(f"{columns.image} {value!r} is not a path below the images.")
    return ImageRef(path=(columns.images or record.path.parent) / value)


def _csv_rows(path: Path, lines: Any) -> Iterator[tuple[int, list[str]]]:
    try:
        for values in lines:
            if any(value.strip() for value in values):
                yield lines.line_num, values
    except csv.Error as error:
        raise UserError(f"{path}, line {lines.line_num}: not CSV ({error}).") from None


def _places(where: object, names: Sequence[str], columns: Aliases, optional: set[str]) -> dict[str, int]:
    """Position of each column in `names`; absent optional columns are left out."""
    places = {}
    for column, others in columns.items():
        hits = [i for i, name in enumerate(names) if name in (column, *others)]
        if len(hits) > 1:
            raise UserError(f"{where}: column {column} stands there twice ({', '.join(names[i] for i in hits)}).")
        if hits:
            places[column] = hits[0]
        elif column not in optional:
            accepted = " or ".join((column, *others))
            raise UserError(f"{where}: no column {accepted}. Columns: {', '.join(names)[:200]}. {_hint(column, names)}")
    return places


def _hint(column: str, names: Sequence[str]) -> str:
    hint = near_miss(column, names)
    return hint if hint.startswith("Did") else "Restore the header."
