"""A contract check: something every component of a kind must fulfil, with a name by which it is counted."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """`run` raises AssertionError where `component` breaks the rule `name`."""

    component: str
    name: str
    run: Callable[[], None]
