"""Mini editions in the user's cache: built once per builder version and sizes, used by every run."""

import hashlib
import inspect
import sys
from pathlib import Path
from typing import Any

from mmunlearn.atomic import new_folder
from mmunlearn.benchmark import Benchmark
from mmunlearn.cache import cache_folder
from mmunlearn.settings import digest

SEED = 0  # one public mini edition; seeds of runs change models, not data


def cached_mini(benchmark: Benchmark) -> Path:
    """Folder of the benchmark's mini edition, built when it is missing; the name holds the hash of how it is made."""
    card = benchmark.card
    key = digest([card.editions["mini"].data, SEED, code_digest(type(benchmark))])
    folder = cache_folder("mini") / f"{benchmark.title()}-{key}"
    if not folder.is_dir():
        with new_folder(folder) as temporary:
            benchmark.build_mini(temporary, SEED)
    return folder


def code_digest(*classes: Any) -> str:
    """Hash of the source of the modules that define `classes` and of the sibling modules next to them that they
    import (one level): the code version of a recipe."""
    texts = {}
    for cls in classes:
        module = sys.modules[cls.__module__]
        texts[module.__name__] = inspect.getsource(module)
        for value in vars(module).values():
            name = value.__name__ if inspect.ismodule(value) else getattr(value, "__module__", None)
            if name and name.startswith("mmunlearn.") and name in sys.modules and name not in texts:
                try:
                    texts[name] = inspect.getsource(sys.modules[name])
                except (OSError, TypeError):
                    continue
    return hashlib.blake2b(repr(sorted(texts.items())).encode(), digest_size=8).hexdigest()
