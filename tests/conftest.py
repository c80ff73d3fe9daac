"""Under test every call checks the array shapes that mmunlearn's signatures promise; in use they cost nothing.

jaxtyping's own choice of a full type checker refuses parts of ordinary signatures (`Self`, names imported for types
only), so the checker here looks at arrays and at nothing else.
"""

import inspect
import os
import sys
import types
import typing
from collections.abc import Callable

from jaxtyping import AbstractArray, install_import_hook

# Sums are cut by threads: golden trajectories, and equalities with subprocesses, need one number of them everywhere.
os.environ["OMP_NUM_THREADS"] = "1"


def arrays_in(annotation: object) -> tuple[type, ...]:
    """The array types that an annotation allows; empty where it allows anything that is neither array nor None."""
    parts = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    arrays = tuple(part for part in parts if isinstance(part, type) and issubclass(part, AbstractArray))
    return arrays if len(arrays) + (types.NoneType in parts) == len(parts) else ()


def checked(function: Callable) -> Callable:
    """`function`, raising TypeError when an argument or the result has not the annotated shape and kind."""
    promised = {name: arrays for name, hint in function.__annotations__.items() if (arrays := arrays_in(hint))}
    if not promised:
        return function
    signature = inspect.signature(function)

    def check(name: str, value: object) -> None:
        if name in promised and value is not None and not isinstance(value, promised[name]):
            found = getattr(value, "shape", type(value).__name__)
            raise TypeError(f"{function.__qualname__}: {name} is {found}, promised {promised[name]}")

    def call(*args: object, **kwargs: object) -> object:
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            check(name, value)
        result = function(*args, **kwargs)
        check("return", result)
        return result

    call.__signature__ = signature
    return call


# The hook takes the checker as text, and tests/ is no package: hence a module of its own for one function.
shapes = types.ModuleType("mmunlearn_shapes")
shapes.checked = checked
sys.modules[shapes.__name__] = shapes
install_import_hook("mmunlearn", f"{shapes.__name__}.checked")
