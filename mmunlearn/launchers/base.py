"""Launcher: one verb, `submit`, that gives a job whose state and last lines can be asked for."""

import importlib
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

ENTRY = "mmunlearn.cli:main"  # what runs a command


class State(StrEnum):
    """Where a job is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True)
class Resources:
    """What one job needs. threads: of the CPU; None: the launcher's share."""

    threads: int | None = None


class Job(ABC):
    """A submitted command. `log` holds everything it printed."""

    name: str
    log: Path
    code: int | None = None  # the exit code; negative: the signal that killed it
    seconds: float = 0.0  # how long it ran, once it has ended

    @abstractmethod
    def state(self) -> State:
        """The job's state now; never blocks."""

    def tail(self, lines: int = 5) -> str:
        """The last non-empty lines of the log."""
        try:
            with open(self.log, "rb") as stream:
                stream.seek(0, 2)
                stream.seek(max(0, stream.tell() - 400 * lines))
                text = stream.read().decode("utf-8", "replace")
        except OSError:
            return ""
        kept = [line for line in text.replace("\r", "\n").splitlines() if line.strip()]
        return "\n".join(kept[-lines:])


def run_entry(entry: str, command: Sequence[str]) -> int:
    """Run a command through the function that `entry` ("module:function") names; returns its exit code."""
    module, _, name = entry.partition(":")
    return getattr(importlib.import_module(module), name)(list(command))


def log_file(folder: Path, name: str) -> Path:
    """Where the output of the job called `name` goes."""
    return folder / (re.sub(r"[^A-Za-z0-9._@+-]+", "-", name) + ".log")


class Launcher(ABC):
    """Runs commands of `mmunlearn`; a context manager that leaves nothing running behind."""

    @abstractmethod
    def submit(self, command: Sequence[str], resources: Resources, env: Mapping[str, str], *, name: str = "") -> Job:
        """Queue a command (the words after `mmunlearn`) and return at once. `name` names the log file."""

    def wait(self, timeout_s: float) -> None:
        """Return when a job may have changed its state, at the latest after `timeout_s`."""
        time.sleep(timeout_s)

    @abstractmethod
    def close(self, *, interrupt: bool = False) -> None:
        """Stop what still runs; `interrupt` gives it the chance to leave resumable state first."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close(interrupt=isinstance(error, KeyboardInterrupt))
