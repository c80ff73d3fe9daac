"""Launchers: where the commands of a grid run. `submit(command, resources, env)` gives a job with state and tail."""

from pathlib import Path

from mmunlearn.errors import UserError, near_miss
from mmunlearn.launchers.base import Launcher

LAUNCHERS = ("local", "debug")


def make_launcher(name: str, logs: Path, *, workers: int | None = None, threads: int = 1) -> Launcher:
    """The launcher called `name`, with its log files in `logs`; UserError with near misses."""
    if name == "local":
        from mmunlearn.launchers.local import Local

        return Local(logs, workers=workers, threads=threads)
    if name == "debug":
        from mmunlearn.launchers.debug import Debug

        return Debug(logs)
    raise UserError(f"launcher {name!r} is not known. {near_miss(name, LAUNCHERS)}")
