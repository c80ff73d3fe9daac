"""The train script as a user types it: alone, under accelerate, and with mistakes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mmunlearn.records import read_rows

ROOT = Path(__file__).parents[2]
SINGLE = ["-m", "mmunlearn.vision.train"]
DOUBLE = ["-m", "accelerate.commands.launch", "--num_processes", "2", "--cpu", *SINGLE]


@pytest.fixture(scope="session")
def data(noise_mufac):
    return noise_mufac(8, 3, 3)


def launch(start, data, out, *more):
    words = [
        "--out", str(out), "--quiet", "benchmark.name=mufac", "benchmark.forget_rows=16", "row=original",
        f"root={data}", "model.name=timm/test_resnet", "model.size_px=32", "method.epochs=2", "method.batch_size=16",
        "method.milestones=[]", "method.optimiser.lr=0.0003", "train.log_every=1", "train.device=cpu",
        # Without it this network amplifies rounding a thousandfold a step, on one process in another order too.
        "model.options.zero_init_last=true", *more,
    ]  # fmt: skip
    environment = os.environ | {
        "OMP_NUM_THREADS": "1", "MMUNLEARN_CACHE": str(out.parent / f"{out.name}-cache"), "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    return subprocess.run([sys.executable, *start, *words], cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="session")
def runs(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for name, start in (("one", SINGLE), ("two", DOUBLE)):
        done = launch(start, data, folder / name)
        assert 0 == done.returncode, done.stderr[-3000:]
    return folder


def steps(run):
    events = map(json.loads, (run / "events.jsonl").read_text().splitlines())
    return [event["terms"]["ce"] for event in events if event["kind"] == "step"]


def test_accelerate_gives_the_loss_trajectory_of_one_process(runs):
    one, two = steps(runs / "one"), steps(runs / "two")
    assert 8 == len(one) and one == pytest.approx(two, abs=1e-5)
    a, b = (load_file(runs / name / "model/weights.safetensors") for name in ("one", "two"))
    for name, tensor in a.items():
        assert torch.allclose(tensor.double(), b[name].double(), rtol=1e-4, atol=1e-5), name


def test_evaluation_shards_over_both_processes(runs):
    for split in ("test", "forget"):
        folders = [runs / name / "responses" / split for name in ("one", "two")]
        assert ["rows-00000.jsonl", "rows-00001.jsonl"] == sorted(f.name for f in folders[1].glob("rows-*"))
        assert all(f.stat().st_size for f in folders[1].glob("rows-*"))
        one, two = (read_rows(folder) for folder in folders)
        assert [row["id"] for row in one] == [row["id"] for row in two]
        assert np.allclose([row["nll"] for row in one], [row["nll"] for row in two], atol=1e-4)
    cells = [json.loads((runs / name / "results.json").read_text())["cells"] for name in ("one", "two")]
    assert cells[0].keys() == cells[1].keys()
    for name, cell in cells[0].items():
        assert cell["n"] == cells[1][name]["n"] and cell["value"] == pytest.approx(cells[1][name]["value"], abs=0.03)


def test_manifest_lists_every_file_with_its_hash(runs):
    import hashlib

    run = runs / "one"
    files = json.loads((run / "manifest.json").read_text())["files"]
    there = {str(f.relative_to(run)) for f in run.rglob("*") if f.is_file()} - {"manifest.json", "run.lock"}
    assert there == set(files) and "model/weights.safetensors" in files and "results.json" in files
    for name, stored in files.items():
        assert hashlib.sha256((run / name).read_bytes()).hexdigest() == stored


def test_divergence_ends_with_two_and_leaves_no_model(data, tmp_path):
    done = launch(SINGLE, data, tmp_path / "run", "method.optimiser.lr=1e30")
    assert 2 == done.returncode and "method.optimiser.lr" in done.stderr and "Traceback" not in done.stderr
    assert 1 <= len(done.stderr.strip().splitlines()) <= 4
    assert not (tmp_path / "run/model").exists() and not (tmp_path / "run/results.json").exists()
    assert "diverged" in (tmp_path / "run/events.jsonl").read_text()
