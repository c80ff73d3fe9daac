"""A folder for mini data that never takes the place of real data."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmunlearn import atomic
from mmunlearn.errors import UserError

TRUTH = "mini.json"


@contextmanager
def mini_folder(path: Path) -> Iterator[Path]:
    """A folder that takes the name `path` when the block ends without error, complete or not at all.

    An older mini edition there (known by its `mini.json`) is replaced; anything else with content raises UserError.
    """
    if path.exists() and not (path / TRUTH).is_file() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(
            f"{path} exists and is not a mini edition (it has no {TRUTH}); it may be the real data.\n"
            "Choose another folder for the mini edition."
        )
    with atomic.new_folder(path) as folder:
        yield folder
