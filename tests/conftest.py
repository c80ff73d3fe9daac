"""Under test every call checks the array shapes that mmunlearn's signatures promise; in use they cost nothing.

jaxtyping's own choice of a full type checker refuses parts of ordinary signatures (`Self`, names imported for types
only), so the checker here looks at arrays and at nothing else.
"""

import csv
import inspect
import os
import sys
import types
import typing
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import AbstractArray, install_import_hook
from PIL import Image

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


FOLDER = "custom_korean_family_dataset_resolution_128"


@pytest.fixture(scope="session")
def noise_mufac(tmp_path_factory):
    """Writes MUFAC's layout with small noise pictures: families of (train, val, test), eight pictures each."""

    def write(train: int, val: int, test: int) -> Path:
        root, draw = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
        for part, first, families in (("train", 1, train), ("val", 801, val), ("test", 851, test)):
            pictures = root / FOLDER / f"{part}_images"
            pictures.mkdir(parents=True)
            rows = []
            for family in range(first, first + families):
                for index, letter in enumerate("abcdefgh"):
                    name = f"F{family:04d}_AGE_D_{18 + index}_{letter}1.jpg"
                    coarse = Image.fromarray(draw.integers(0, 256, (4, 4, 3), dtype=np.uint8))
                    coarse.resize((32, 32)).save(pictures / name)
                    rows.append((f"F{family:04d}", "D", letter, name))
            with open(root / FOLDER / f"custom_{part}_dataset.csv", "w", newline="") as stream:
                csv.writer(stream).writerows([("family_id", "person_id", "age_class", "image_path"), *rows])
        return root

    return write
