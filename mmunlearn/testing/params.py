"""Contract checks as parameters of a pytest test: known failures are strict, missing packages skip with their name."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any


def params(
    components: Iterable[Any], checks: Callable[[Any], Sequence[Any]], missing: Callable[[Any], str] = lambda _: ""
) -> list[Any]:
    """A parameter for every check of every component class.

    A check that `known_failures` of its component names must fail (strict xfail, with the reason). missing: the package
    without which a component's checks are skipped ("" where none is).
    """
    import pytest

    found = []
    for component in components:
        absent = missing(component)
        skip = [pytest.mark.skipif(bool(absent), reason=f"needs {absent}")] if absent else []
        for check in checks(component):
            known = component.known_failures.get(check.name)
            marks = [pytest.mark.xfail(strict=True, reason=known)] if known else []
            found.append(pytest.param(check, id=str(check), marks=[*marks, *skip]))
    return found


def counted(found: Iterable[Any]) -> Counter[str]:
    """How many checks each component has, by its name."""
    return Counter(param.values[0].component for param in found)
