"""A function over many small items by a few threads, for work that lets go of the interpreter's lock (PIL, files)."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

In = TypeVar("In")
Out = TypeVar("Out")
SLICE = 16  # items that a thread takes at a time: handing over one small picture costs as much as decoding it


def mapped(function: Callable[[In], Out], items: Sequence[In]) -> list[Out]:
    """`function` of each item, in order; the first error in that order is raised."""
    if len(items) < 2:
        return [function(item) for item in items]
    workers = max(2, min(4, os.cpu_count() or 1))  # two on one core: one waits for the disk while the other decodes
    size = min(SLICE, -(-len(items) // workers))
    slices = [items[start : start + size] for start in range(0, len(items), size)]
    with ThreadPoolExecutor(workers) as pool:
        return [made for part in pool.map(lambda some: [function(item) for item in some], slices) for made in part]
