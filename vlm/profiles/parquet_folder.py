"""Writes rows as the hub's parquet layout has them: one folder a configuration, one file a split."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmunlearn import atomic

FILE = "train-00000-of-00001.parquet"


def write_configuration(root: Path, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write `rows` to `<root>/<name>/train-00000-of-00001.parquet`; equal rows give equal bytes."""
    import pyarrow
    from pyarrow import parquet

    buffer = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist([dict(row) for row in rows]), buffer, compression="none")
    atomic.write_bytes(root / name / FILE, buffer.getvalue())


def encoded(jpeg: bytes, name: str) -> dict[str, Any]:
    """A picture as the hub's image columns hold it."""
    return {"bytes": jpeg, "path": name}
