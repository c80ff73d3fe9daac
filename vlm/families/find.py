"""Which family a model belongs to, by its configuration's model type."""

import importlib
import pkgutil
from functools import cache
from pathlib import Path

from mmunlearn.errors import UserError, near_miss

from .base import Family


@cache
def families() -> dict[str, type[Family]]:
    """Families by model type, from the files beside this one."""
    found: dict[str, type[Family]] = {}
    for entry in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if entry.name in {"base", "find"} or entry.name.startswith("_"):
            continue
        module = importlib.import_module(f"{__package__}.{entry.name}")
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, Family) and value.__module__ == module.__name__:
                found |= dict.fromkeys(value.types, value)
    return found


def family_of(model_type: str) -> Family:
    """The family of a configuration's `model_type`; UserError with the known ones."""
    known = families()
    if model_type not in known:
        raise UserError(f"model.name: a {model_type!r} model is not supported. {near_miss(model_type, known)}")
    return known[model_type]()
