"""Debug launcher: every command runs at once, in this process; for tests and for a debugger."""

import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmunlearn.launchers.base import ENTRY, Job, Launcher, Resources, State, log_file, run_entry


class DebugJob(Job):
    """A command that has already been run."""

    def __init__(self, name: str, log: Path, code: int, seconds: float):
        self.name, self.log, self.code, self.seconds = name, log, code, seconds

    def state(self) -> State:
        """Done or failed; there is no other."""
        return State.DONE if self.code == 0 else State.FAILED


class Debug(Launcher):
    """Runs a submitted command before `submit` returns. `resources` are ignored."""

    def __init__(self, logs: Path, *, entry: str = ENTRY):
        self.logs, self.entry = logs, entry

    def submit(self, command: Sequence[str], resources: Resources, env: Mapping[str, str], *, name: str = "") -> Job:
        """Run the command here with stdout and stderr in its log."""
        self.logs.mkdir(parents=True, exist_ok=True)
        log = log_file(self.logs, name or "job")
        started = time.monotonic()
        before = {key: os.environ.get(key) for key in env}
        os.environ.update(env)
        try:
            with (
                open(log, "a", encoding="utf-8") as stream,
                contextlib.redirect_stdout(stream),
                contextlib.redirect_stderr(stream),
            ):
                code = run_entry(self.entry, command)
        finally:
            for key, value in before.items():
                os.environ.pop(key, None) if value is None else os.environ.update({key: value})
        if code == 130:
            raise KeyboardInterrupt
        return DebugJob(name, log, code, time.monotonic() - started)

    def wait(self, timeout_s: float) -> None:
        """Nothing to wait for."""

    def close(self, *, interrupt: bool = False) -> None:
        """Nothing to stop."""
