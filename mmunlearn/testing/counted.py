"""A handle that counts what is asked of it, to check the cost that an attack reports."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmunlearn.data import Example
from mmunlearn.handle import Decoding, Handle


class Counted(Handle):
    """Counts scored examples ("queries"), recorded graphs ("steps") and answered examples ("answers"); copies share
    the counts."""

    def __init__(self, handle: Handle, log: dict[str, int] | None = None):
        self.handle, self.modality = handle, handle.modality  # type: ignore[misc]
        self.log = {"queries": 0, "steps": 0, "answers": 0} if log is None else log

    def __getattr__(self, name: str) -> Any:
        """A sibling's own verbs, uncounted."""
        if name.startswith("__") or name == "handle":
            raise AttributeError(name)
        return getattr(self.handle, name)

    @property
    def module(self) -> Any:  # type: ignore[override]
        return self.handle.module

    def collate(self, examples: Sequence[Example], view: Any = None) -> Any:
        return self.handle.collate(examples, view)

    def score(self, batch: Any) -> Any:
        scored = self.handle.score(batch)
        self.log["queries"] += len(batch)
        self.log["steps"] += int(scored.nll.requires_grad)
        return scored

    def respond(self, examples: Sequence[Example], how: Decoding, seed: int) -> Any:
        self.log["answers"] += len(examples)
        return self.handle.respond(examples, how, seed)

    def random_target(self, example: Example, generator: Any, *, wrong_only: bool = False) -> Any:
        return self.handle.random_target(example, generator, wrong_only=wrong_only)

    def fresh(self, seed: int) -> Any:
        return self.handle.fresh(seed)

    def copy(self) -> Any:
        return Counted(self.handle.copy(), self.log)

    def save(self, path: Path) -> None:
        self.handle.save(path)

    @classmethod
    def load(cls, path: Path, device: Any = "cpu") -> Any:
        raise TypeError("load the wrapped handle's class instead")
