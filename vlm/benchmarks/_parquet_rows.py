"""Configurations of a hub data set on disk: a folder of parquet files a configuration, and pictures in their cells."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmunlearn.data import ImageRef
from mmunlearn.errors import UserError, near_miss
from mmunlearn.tables import Aliases, Record, read_parquet


def configuration_files(root: Path, name: str, what: str, *, needed: bool = True) -> list[Path]:
    """Parquet files of `<root>/<name>` (or `<root>/data/<name>`), in order. UserError when it has none and is
    `needed`; what: the benchmark and what it needs, for the message."""
    for folder in (root / name, root / "data" / name):
        files = sorted(folder.glob("*.parquet")) if folder.is_dir() else []
        if files:
            return files
    if not needed:
        return []
    present = [child.name for child in sorted(root.iterdir()) if child.is_dir()]
    hint = near_miss(name, present) if present else "The folder holds no configuration."
    raise UserError(f"{root}: no parquet files under {name}/. {hint} {what}")


def read_configuration(files: Sequence[Path], columns: Aliases, optional: Sequence[str] = ()) -> list[Record]:
    """Rows of all files of a configuration."""
    return [record for path in files for record in read_parquet(path, columns, optional=optional)]


def picture(record: Record, value: Any, title: str) -> ImageRef:
    """A picture cell: {"bytes", "path"} as the hub writes it, or bare bytes. UserError where it holds none."""
    content = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(content, bytes) or not content:
        raise record.fault(f"{title} holds no encoded picture. Fetch the file again.")
    return ImageRef(content=content)


def text_cell(record: Record, value: Any, title: str) -> str:
    """A cell that must be text that is not blank."""
    if not isinstance(value, str) or not value.strip():
        raise record.fault(f"{title} must be text that is not blank (got {value!r:.60}).")
    return value


def list_cell(record: Record, value: Any, title: str) -> list[Any]:
    """A cell that must be a list with at least one entry."""
    if not isinstance(value, list) or not value:
        raise record.fault(f"{title} must be a list with at least one entry (got {value!r:.60}).")
    return value
