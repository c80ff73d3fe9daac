"""A contract check: a name, the component it concerns and a function that raises when the contract is broken."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """One check of one component; `run` raises AssertionError (or lets the component's error through)."""

    component: str
    name: str
    run: Callable[[], None]

    def __str__(self) -> str:
        return f"{self.component}-{self.name}"
