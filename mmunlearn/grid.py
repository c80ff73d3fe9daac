"""Grid: a list of commands with their own run folders, run by a launcher; repeating it runs what is missing."""

import itertools
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from mmunlearn.atomic import write_json
from mmunlearn.errors import UserError
from mmunlearn.launchers.base import Job, Launcher, Resources, State
from mmunlearn.launchers.board import Board, make_board
from mmunlearn.settings import Settings, build, digest, read_yaml

MAX_JOBS = 10_000
POLL_S = 0.5
_SAFE = re.compile(r"[^A-Za-z0-9._+-]+")


class Outcome(StrEnum):
    """How a job of a grid ended."""

    DONE = "done"
    COMPLETE = "already complete"
    FAILED = "failed"
    BLOCKED = "blocked"  # a job that it comes after failed


@dataclass(frozen=True)
class JobSpec:
    """A command of a grid: the words after `mmunlearn`.

    run_folder: complete when it holds manifest.json, and then skipped. after: names of jobs that must be done first.
    """

    name: str
    argv: tuple[str, ...]
    run_folder: Path | None = None
    after: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    resources: Resources = field(default_factory=Resources)


@dataclass(frozen=True)
class JobResult:
    """What became of a job. `log` is None where it did not run."""

    name: str
    outcome: Outcome
    code: int | None = None
    seconds: float = 0.0
    log: Path | None = None
    tail: str = ""

    @property
    def ok(self) -> bool:
        """Whether the job's result is there."""
        return self.outcome in (Outcome.DONE, Outcome.COMPLETE)


class Grid:
    """Jobs and their order. Raises UserError for names used twice, unknown `after`, circles and too many jobs."""

    def __init__(self, jobs: Sequence[JobSpec], notes: Path | None = None):
        """notes: folder for one small file a finished job, which says with which command its folder was made."""
        self.jobs = list(jobs)
        self.notes = notes
        _check(self.jobs)

    def run(self, launcher: Launcher, board: Board | None = None) -> list[JobResult]:
        """Run what is missing and return a result a job, in the order of the jobs. A failed job stops no other.

        KeyboardInterrupt stops the running jobs cleanly and is raised again.
        """
        board = board or make_board([job.name for job in self.jobs])
        results: dict[str, JobResult] = {}
        running: dict[str, Job] = {}
        with board, launcher:
            for spec in self.jobs:
                if self._complete(spec):
                    results[spec.name] = JobResult(spec.name, Outcome.COMPLETE)
                    board.show(spec.name, Outcome.COMPLETE)
            while len(results) < len(self.jobs):
                self._advance(launcher, board, results, running)
                if running:
                    launcher.wait(POLL_S)
        return [results[spec.name] for spec in self.jobs]

    def _advance(
        self,
        launcher: Launcher,
        board: Board,
        results: dict[str, JobResult],
        running: dict[str, Job],
    ) -> None:
        for spec in self.jobs:
            if spec.name in results or spec.name in running:
                continue
            failed = [name for name in spec.after if name in results and not results[name].ok]
            if failed:
                results[spec.name] = JobResult(spec.name, Outcome.BLOCKED, tail=f"after {failed[0]}, which failed")
                board.show(spec.name, Outcome.BLOCKED, results[spec.name].tail)
            elif all(name in results for name in spec.after):
                job = launcher.submit(spec.argv, spec.resources, spec.env, name=spec.name)
                running[spec.name] = job
        for name, job in list(running.items()):
            state = job.state()
            if state == State.RUNNING:
                board.show(name, state, job.tail(1))
            elif state in (State.DONE, State.FAILED):
                del running[name]
                results[name] = self._ended(name, job)
                last = "" if results[name].ok else job.tail(1)
                board.show(name, results[name].outcome, last, results[name].seconds)

    def _ended(self, name: str, job: Job) -> JobResult:
        done = job.state() == State.DONE
        if done and self.notes is not None:
            spec = next(spec for spec in self.jobs if spec.name == name)
            write_json(self.notes / f"{name}.json", {"command": command_digest(spec.argv)})
        outcome = Outcome.DONE if done else Outcome.FAILED
        return JobResult(name, outcome, job.code, job.seconds, job.log, "" if done else job.tail())

    def _complete(self, spec: JobSpec) -> bool:
        """Whether the folder is complete and, where that is known, was made by the same command."""
        if spec.run_folder is None or not (spec.run_folder / "manifest.json").is_file():
            return False
        note = self.notes / f"{spec.name}.json" if self.notes is not None else None
        if note is None or not note.is_file():
            return True
        # Another command for the same folder runs: the run itself then refuses and shows the difference.
        return json.loads(note.read_text(encoding="utf-8"))["command"] == command_digest(spec.argv)


def command_digest(argv: Sequence[str]) -> str:
    """Hash of a command and of the content of the settings files that it names after --config."""
    files = [Path(value) for word, value in itertools.pairwise(argv) if word == "--config"]
    return digest([list(argv), [read_yaml(path) for path in files if path.is_file()]])


def _check(jobs: Sequence[JobSpec]) -> None:
    if len(jobs) > MAX_JOBS:
        raise UserError(f"{len(jobs):,} jobs are more than {MAX_JOBS:,}. Shorten an axis or split the grid.")
    counts = Counter(job.name for job in jobs)
    name, count = counts.most_common(1)[0] if counts else ("", 0)
    if count > 1:
        raise UserError(f"{count} jobs are called {name!r}. Names of a grid's jobs must differ.")
    for job in jobs:
        for name in job.after:
            if name not in counts:
                raise UserError(f"job {job.name!r} comes after {name!r}, which is no job of the grid.")
    done: set[str] = set()
    left = {job.name: set(job.after) for job in jobs}
    while left:
        free = [name for name, needs in left.items() if needs <= done]
        if not free:
            raise UserError(f"jobs wait for each other in a circle: {', '.join(sorted(left)[:5])}.")
        done.update(free)
        for name in free:
            del left[name]


class GridFile(Settings):
    """grid.yaml: one command with settings, and axes whose product is run.

    verb: a verb that takes settings and --out. arguments: further words for it. config: a settings file, relative to
    grid.yaml. settings: laid over it. axes: dotted setting -> its values. out: holds a run folder a job.
    """

    verb: str = "unlearn"
    arguments: tuple[str, ...] = ()
    config: str | None = None
    settings: dict[str, Any] = {}
    axes: dict[str, list[Any]]
    out: str


def read_grid(path: Path) -> tuple[list[JobSpec], Path]:
    """Jobs of a grid file and its output folder. Raises UserError naming file and field."""
    content = build(GridFile, read_yaml(path), str(path))
    for axis, values in content.axes.items():
        if not values:
            raise UserError(f"{path}: axes.{axis} is empty. Give it at least one value.")
        if len({json.dumps(value, sort_keys=True, default=str) for value in values}) < len(values):
            raise UserError(f"{path}: axes.{axis} has a value twice.")
    count = 1
    for values in content.axes.values():
        count *= len(values)
    if count > MAX_JOBS:
        raise UserError(f"{path}: {count:,} runs are more than {MAX_JOBS:,}. Shorten an axis or split the grid.")
    out = Path(content.out)
    common = list(content.arguments)
    if content.config is not None:
        common += ["--config", str(path.parent / content.config)]
    common += words(content.settings)
    jobs = []
    for chosen in itertools.product(*content.axes.values()):
        point = dict(zip(content.axes, chosen, strict=True))
        name = job_name(point)
        own = [word for axis, value in point.items() for word in words(_nested(axis, value))]
        argv = (content.verb, *common, *own, "--out", str(out / name))
        jobs.append(JobSpec(name, argv, out / name))
    if len({job.name for job in jobs}) < len(jobs):
        raise UserError(f"{path}: two runs would have the same folder name. Make the axes' values differ in letters.")
    return jobs, out


def _nested(axis: str, value: Any) -> dict[str, Any]:
    for part in reversed(axis.split(".")):
        value = {part: value}
    return value


def words(settings: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Settings as dotted words, values as one-line YAML."""
    found = []
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            found += words(value, f"{prefix}{key}.")
        else:
            text = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True)
            found.append(f"{prefix}{key}={text.removesuffix('...' + chr(10)).strip()}")
    return found


def job_name(point: Mapping[str, Any]) -> str:
    """A folder name for a point of the grid, such as beta-0.1_seed-0: axes by their last part where that is clear."""
    last = [axis.rpartition(".")[2] for axis in point]
    short = {axis: name if last.count(name) == 1 else axis for axis, name in zip(point, last, strict=True)}
    parts = []
    for axis, value in point.items():
        text = value if isinstance(value, str) else json.dumps(value, default=str)
        parts.append(_SAFE.sub("-", f"{short[axis]}-{text}").strip("-"))
    return "_".join(parts)[:200]
