"""kill -9 at random moments of a run; the same command again ends bit-equal to the run that nobody disturbed.

python -m pytest -m slow -s tests/test_kill_resume.py
"""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmunlearn.records import read_rows

ROOT = Path(__file__).parents[1]
MOMENTS = 20
STEPS = 60  # optimiser steps of the run: 6 epochs of 10 batches


@pytest.fixture(scope="module")
def data(noise_mufac):
    return noise_mufac(20, 5, 5)


def start(data: Path, folder: Path) -> subprocess.Popen:
    """The command, as a user types it, with a model cache of its own."""
    words = [
        "--out", str(folder / "run"), "--quiet", "benchmark.name=mufac", "benchmark.forget_rows=24", "row=original",
        f"root={data}", "model.name=timm/test_resnet", "model.size_px=32", "method.epochs=6", "method.batch_size=16",
        "method.milestones=[4]", "train.checkpoint_every=3", "train.log_every=1", "train.device=cpu",
    ]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MMUNLEARN_CACHE": str(folder / "cache")}
    return subprocess.Popen(
        [sys.executable, "-m", "mmunlearn.vision.train", *words],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(process: subprocess.Popen) -> None:
    _, errors = process.communicate(timeout=300)
    assert 0 == process.returncode, errors


def outcome(folder: Path) -> tuple:
    """What must be equal: weights to the bit, every response, every cell."""
    run = folder / "run"
    results = json.loads((run / "results.json").read_text())
    rows = {split.name: read_rows(split) for split in sorted((run / "responses").iterdir())}
    leftovers = [str(f.relative_to(run)) for f in run.rglob("*") if f.suffix in {".tmp", ".old"}]
    assert [] == leftovers
    assert not (run / "checkpoints").exists()
    weights = hashlib.sha256((run / "model/weights.safetensors").read_bytes()).hexdigest()
    return weights, rows, results["cells"], results["flags"]


def progress(folder: Path) -> int:
    """Signs of work so far: lines of events, then files of responses and stages."""
    events = folder / "run/events.jsonl"
    lines = events.read_bytes().count(b"\n") if events.is_file() else 0
    return lines + sum(len(list((folder / "run").glob(pattern))) for pattern in ("responses/*/*", "stages/*"))


def kill_at(process: subprocess.Popen, folder: Path, marks: int, delay_s: float) -> str:
    """kill -9 `delay_s` after `marks` signs of work; returns where the run was."""
    while progress(folder) < marks and process.poll() is None:
        time.sleep(0.002)
    time.sleep(delay_s)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    if process.returncode == 0:
        return "finished before the kill"
    done = [f.name for f in (folder / "run").glob("*")] if (folder / "run").is_dir() else []
    return f"{progress(folder)} marks, {'model stored' if 'model' in done else 'in the method'}"


def moments(count: int, marks: int, seconds: float) -> Iterator[tuple[int, float]]:
    """Seeded moments over the whole run: a number of marks, and some milliseconds on top."""
    draw = random.Random(0)
    for index in range(count):
        at = (index + draw.random()) / count
        yield round(at * marks), draw.random() * seconds / marks


def check(data: Path, tmp_path: Path, count: int) -> None:
    started = time.perf_counter()
    finish(start(data, tmp_path / "whole"))
    seconds = time.perf_counter() - started
    expected, marks = outcome(tmp_path / "whole"), progress(tmp_path / "whole")
    assert marks > STEPS
    interrupted = 0
    for number, (at, delay_s) in enumerate(moments(count, marks, seconds)):
        folder = tmp_path / f"{number}"
        where = kill_at(start(data, folder), folder, at, delay_s)
        interrupted += where != "finished before the kill"
        finish(start(data, folder))
        resumed = [e["step"] for e in map(json.loads, (folder / "run/events.jsonl").open()) if e["kind"] == "resumed"]
        print(f"kill {number + 1}/{count} after mark {at} of {marks}: {where}; resumed at step {resumed or 0}")
        assert expected == outcome(folder), f"killed after mark {at} ({where})"
    assert interrupted >= count * 3 // 4, "too few kills fell into the run"


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_at_twenty_moments(data, tmp_path):
    check(data, tmp_path, MOMENTS)


def test_killed_once_in_the_middle(data, tmp_path):
    check(data, tmp_path, 1)
