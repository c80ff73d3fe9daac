"""Run: a directory that explains itself. The same command again finishes what is missing.

config.yaml      resolved settings, written first
events.jsonl     append-only: loss terms, warnings, stages
checkpoints/     the method's resumable state; LAST names the newest complete one; gone when the method is done
stages/*.json    done-markers with the hash of the stage's inputs
model/           the result's weights and description
responses/, verdicts/   rows by split
results.json     cells, written when everything else is there
manifest.json    versions, fingerprints and the hash of every file: written last, so its presence means complete
"""

import fcntl
import json
import logging
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, Field, ValidationInfo, field_validator

from mmunlearn.atomic import new_folder, write_json, write_text
from mmunlearn.errors import UserError
from mmunlearn.records import drop_torn_line
from mmunlearn.settings import Settings, build, differences, plain, read_yaml

log = logging.getLogger(__name__)


class TrainSettings(Settings):
    """How the engine runs, as opposed to what the method computes: none of these should change a result's meaning."""

    micro_batch: int | None = Field(None, ge=1)  # examples of a stream per forward; None: the whole batch
    precision: Literal["no", "bf16", "double"] = "no"  # bf16: by accelerate; double: all in float64, for audits
    gradient_checkpointing: bool = False
    checkpoint_every: int = Field(200, ge=1)  # optimiser steps between resumable checkpoints
    determinism: Literal["off", "seeded", "strict"] = "seeded"
    device: Literal["auto", "cpu"] = "auto"
    trackers: tuple[str, ...] = ()  # names that accelerate knows: tensorboard, wandb, …
    log_every: int = Field(10, ge=1)  # steps between loss events
    threads: int | None = Field(None, ge=1)

    @field_validator("precision", "determinism", mode="before")
    @classmethod
    def _words_of_yaml(cls, value: Any, info: ValidationInfo) -> Any:
        """YAML reads the words `no` and `off` as false."""
        return {"precision": "no", "determinism": "off"}[str(info.field_name)] if value is False else value


class Run:
    """A run directory opened by one process (the main one of a distributed run)."""

    def __init__(self, path: Path, settings: Mapping[str, Any], seed: int, train: TrainSettings):
        self.path = path
        self.settings = dict(settings)
        self.seed = seed
        self.train = train
        self._lock: Any = None

    @classmethod
    def open(
        cls, path: Path, settings: BaseModel | Mapping[str, Any], *, fresh: bool = False, main: bool = True
    ) -> Self:
        """Open or create the directory. Same settings: resume. Other settings: UserError with the difference.

        `fresh` removes an old run first. `main`: only that process locks and writes. Raises UserError when another
        process holds the run or the folder holds something else.
        """
        content = plain(settings)
        train = build(TrainSettings, content.get("train", {}), "train")
        run = cls(path, content, int(content.get("seed", 0)), train)
        if not main:
            return run
        config = path / "config.yaml"
        if path.is_file():
            raise UserError(f"{path}: is a file, not a run folder. Choose another path.")
        if path.is_dir() and any(path.iterdir()) and not config.is_file():
            leftovers = [f for f in path.iterdir() if f.name != "run.lock" and not f.name.startswith(".")]
            if leftovers:
                raise UserError(
                    f"{path}: exists and is not a run ({leftovers[0].name} lies in it). Choose another path."
                )
        run._acquire()
        try:
            if fresh and config.is_file():
                # The settings go last: a folder without them would no longer be known as a run.
                for child in sorted(path.iterdir(), key=lambda f: f == config):
                    if child.name != "run.lock":
                        shutil.rmtree(child) if child.is_dir() else child.unlink()
            if config.is_file():
                run._compare(config)
            else:
                write_text(config, yaml.safe_dump(content, sort_keys=True, allow_unicode=True))
            for stale in [*path.rglob(".*.tmp"), *path.rglob(".*.old")]:
                shutil.rmtree(stale, ignore_errors=True) if stale.is_dir() else stale.unlink(missing_ok=True)
            drop_torn_line(path / "events.jsonl")
        except BaseException:
            run.close()
            raise
        return run

    @classmethod
    def scratch(cls, path: Path, seed: int = 0, **train: Any) -> Self:
        """A run without settings to compare, for tests and notebooks."""
        path.mkdir(parents=True, exist_ok=True)
        return cls(path, {}, seed, TrainSettings(**train))

    @staticmethod
    def read(path: Path) -> dict[str, Any]:
        """The settings stored in the run folder `path`."""
        config = path / "config.yaml"
        if not config.is_file():
            raise UserError(f"{path}: is not a run (config.yaml is missing). Give the folder that a command wrote.")
        return read_yaml(config)

    def _acquire(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = open(self.path / "run.lock", "w")
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written ({error.strerror}). Choose another folder.") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            self._lock = None
            raise UserError(
                f"{self.path}: another process works on this run. Wait for it or choose another path."
            ) from None

    def _compare(self, config: Path) -> None:
        stored = read_yaml(config)
        changed = differences(_identity(stored), _identity(self.settings))
        if changed:
            shown = "; ".join(changed[:4]) + (f"; … {len(changed)} in all" if len(changed) > 4 else "")
            raise UserError(
                f"{self.path} was made with other settings ({shown}).\nUse a new name, or --fresh to replace it."
            )

    def close(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- events -----------------------------------------------------------------------------------------------
    def event(self, kind: str, **fields: Any) -> None:
        """Append one line to events.jsonl; `time` is seconds since the epoch."""
        line = json.dumps({"kind": kind, "time": round(time.time(), 3), **fields}, default=str)
        try:
            with open(self.path / "events.jsonl", "a", encoding="utf-8") as stream:
                stream.write(line + "\n")
        except OSError as error:
            raise UserError(
                f"{self.path}: cannot be written ({error.strerror}). Free space or choose another folder."
            ) from error

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Events so far, of one kind or all."""
        path = self.path / "events.jsonl"
        if not path.is_file():
            return []
        rows = []
        for line in path.read_text(encoding="utf-8").split("\n"):
            try:
                row = json.loads(line)
            except ValueError:
                continue  # a line cut off by a crash
            if kind is None or row["kind"] == kind:
                rows.append(row)
        return rows

    # ---- stages -----------------------------------------------------------------------------------------------
    def done(self, stage: str, inputs: str) -> bool:
        """Whether `stage` was finished with these inputs (a hash)."""
        marker = self.path / "stages" / f"{stage}.json"
        return marker.is_file() and json.loads(marker.read_text())["inputs"] == inputs

    def finish(self, stage: str, inputs: str, **facts: Any) -> None:
        """Mark `stage` done."""
        write_json(self.path / "stages" / f"{stage}.json", {"inputs": inputs, **facts})

    def stage_facts(self, stage: str) -> dict[str, Any]:
        """What `finish` stored."""
        marker = self.path / "stages" / f"{stage}.json"
        return json.loads(marker.read_text()) if marker.is_file() else {}

    # ---- checkpoints ------------------------------------------------------------------------------------------
    def save(self, step: int, state: Mapping[str, Any]) -> None:
        """Write a complete checkpoint, point LAST at it, remove older ones.

        state: nested mappings and lists of tensors and JSON-able values.
        """
        from mmunlearn.checkpoint import write_state

        folder = self.path / "checkpoints"
        name = f"step-{step:08d}"
        with new_folder(folder / name) as temporary:
            write_state(temporary, state)
        write_text(folder / "LAST", name)
        for old in folder.iterdir():
            if old.is_dir() and old.name != name:
                shutil.rmtree(old, ignore_errors=True)

    def latest(self) -> dict[str, Any] | None:
        """State of the newest complete checkpoint, or None."""
        from mmunlearn.checkpoint import read_state

        pointer = self.path / "checkpoints" / "LAST"
        if not pointer.is_file():
            return None
        return read_state(self.path / "checkpoints" / pointer.read_text().strip())

    def drop_checkpoints(self) -> None:
        """Remove the method's checkpoints once its result is stored."""
        shutil.rmtree(self.path / "checkpoints", ignore_errors=True)

    def size_bytes(self, folder: str = "model") -> int:
        """Bytes of all files under `folder` of the run."""
        return sum(f.stat().st_size for f in (self.path / folder).rglob("*") if f.is_file())


def _identity(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What must be equal for a resume: everything but how the work is displayed and spread."""
    spread = {"trackers", "log_every", "checkpoint_every", "threads", "device"}
    train = {k: v for k, v in settings.get("train", {}).items() if k not in spread}
    return {**settings, "train": train} if "train" in settings else dict(settings)
