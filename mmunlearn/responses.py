"""Stored responses of a run: rows under `responses/<split>`, the pictures among them under `images/<split>`.

A run whose model is another run's (an original that several requests start from) takes what that one has answered.
"""

import os
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

from mmunlearn.errors import UserError
from mmunlearn.records import Rows, read_rows

RUNS = "runs"  # folder whose runs share their responses
INPUTS, SHARED = "INPUTS", "SHARED"  # what rows were made from; the same with all that a twin must have in common


def rows_folder(run: Path, split: str) -> Path:
    """Folder of the rows."""
    return run / "responses" / split


def images_folder(run: Path, split: str) -> Path:
    """Folder of the pictures that rows name."""
    return run / "images" / split


def read_responses(run: Path, split: str) -> list[dict[str, Any]]:
    """Rows of a split by id; `image` is the absolute path of the picture."""
    rows, folder = read_rows(rows_folder(run, split)), images_folder(run, split).absolute()
    return [row | {"image": str(folder / row["image"])} if row.get("image") else row for row in rows]


def rows_of(run: Path, split: str) -> Rows | None:
    """Stored responses of a run's split as columns, sorted by id; None when there are none."""
    rows = read_responses(run, split)
    return Rows.of(rows) if rows else None


def forget_responses(run: Path, split: str) -> None:
    """Remove a split's responses: pictures first, since what marks them as old lies beside the rows."""
    for folder in (images_folder(run, split), rows_folder(run, split)):
        if folder.is_dir():
            shutil.rmtree(folder)


def twin(run: Path, split: str, key: str, ids: Collection[str]) -> Path | None:
    """Another run beside `run` in a folder `runs` whose responses have the same key and are complete for `ids`."""
    if run.absolute().parent.name != RUNS:
        return None
    for marker in sorted(run.absolute().parent.glob(f"*/responses/{split}/{SHARED}")):
        other = marker.parents[2]
        if other.name == run.name or marker.read_text(encoding="utf-8") != key:
            continue
        if set(ids) <= {row["id"] for row in read_rows(marker.parent)}:
            return other
    return None


def take_over(run: Path, split: str, source: Path, ids: Collection[str]) -> list[dict[str, Any]] | None:
    """The rows of `source` for `ids`, whose pictures are linked (or copied) into `run`; None when a file is gone."""
    wanted = set(ids)
    rows = [row for row in read_rows(rows_folder(source, split)) if row["id"] in wanted]
    there, here = images_folder(source, split), images_folder(run, split)
    for name in {row["image"] for row in rows if row.get("image")}:
        try:
            here.mkdir(parents=True, exist_ok=True)
            _link(there / name, here / name)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UserError(f"{here / name}: cannot be written ({error.strerror}). Free space.") from error
    return rows


def _link(source: Path, to: Path) -> None:
    if to.exists():
        return
    try:
        os.link(source, to)
    except FileNotFoundError:
        raise
    except OSError:  # another disk, or a file system without links
        temporary = to.with_name(f".{to.name}.{os.getpid()}.tmp")
        shutil.copyfile(source, temporary)
        os.replace(temporary, to)
