"""The train script on a small FIUBench: original, method from it, evaluation; one process and two."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from mmunlearn.vlm.benchmarks.fiubench import Fiubench

ROOT = Path(__file__).parents[2]
SINGLE = ("-m",)
DOUBLE = ("-m", "accelerate.commands.launch", "--num_processes", "2", "--cpu", "-m")

TINY = {
    "template": "mini", "tower": "full",
    "architecture": {
        "vision": {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
                   "image_size": 32},
        "text": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
                 "num_key_value_heads": 2},
    },
}  # fmt: skip


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fiubench")
    Fiubench({}).build_mini(folder, 0, Fiubench.tiny | {"askings": 1})
    return folder


def config(root, tmp_path, **more):
    content = {
        "modality": "vlm", "benchmark": {"name": "fiubench"}, "edition": "mini", "root": str(root),
        "model": TINY, "row": "original", "evaluate": {"limit": 4, "decoding": {"max_new_tokens": 4}},
        "method": {"epochs": 1, "batch_size": 24}, "train": {"device": "cpu", "log_every": 1},
    } | more  # fmt: skip
    file = tmp_path / "train.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


def script(*words, launcher=SINGLE):
    command = [sys.executable, *launcher, "mmunlearn.vlm.train", *map(str, words)]
    out = Path(words[words.index("--out") + 1])
    environment = os.environ | {
        "OMP_NUM_THREADS": "1", "MMUNLEARN_CACHE": str(out.parent / f"{out.name}-cache"), "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def losses(run, term):
    events = map(json.loads, (run / "events.jsonl").read_text().splitlines())
    return [event["terms"][term] for event in events if event["kind"] == "step"]


def test_both_stages_run_as_scripts_and_end_with_cells(root, tmp_path):
    first = script("--config", config(root, tmp_path), "--out", tmp_path / "original", "--quiet")
    assert 0 == first.returncode, first.stderr
    second = config(
        root, tmp_path, row="gd", start=str(tmp_path / "original"), model={"tower": "frozen", "lora": {"r": 2}}
    )
    done = script("--config", second, "--out", tmp_path / "gd", "--quiet")
    assert 0 == done.returncode, done.stderr
    results = json.loads((tmp_path / "gd" / "results.json").read_text())
    assert "forget/keyword_recall" in results["cells"] and "retain/rouge_l" in results["cells"]
    stored = {file.name for file in (tmp_path / "gd" / "model").iterdir()}
    assert {"adapter.safetensors", "handle.json"} == stored


def test_a_wrong_setting_ends_in_one_line(root, tmp_path):
    wrong = script("--config", config(root, tmp_path, model={"templte": "mini"}), "--out", tmp_path / "run")
    assert 2 == wrong.returncode
    assert "template" in wrong.stderr and "Traceback" not in wrong.stderr
    assert not (tmp_path / "run").exists()


def test_accelerate_gives_the_loss_trajectory_of_one_process(root, tmp_path):
    first = config(root, tmp_path, method={"epochs": 2, "batch_size": 24, "optimiser": {"lr": 0.0005}})
    for name, launcher in (("one", SINGLE), ("two", DOUBLE)):
        done = script("--config", first, "--out", tmp_path / name, "--quiet", launcher=launcher)
        assert 0 == done.returncode, done.stderr[-3000:]
    one, two = (losses(tmp_path / name, "ce") for name in ("one", "two"))
    assert len(one) > 5 and one == pytest.approx(two, abs=1e-5)
    second = {"row": "kl", "method": {"epochs": 2, "batch_size": 8, "optimiser": {"lr": 0.0005}}}
    for name, launcher in (("kl_one", SINGLE), ("kl_two", DOUBLE)):
        file = config(root, tmp_path, start=str(tmp_path / "one"), model={"tower": "frozen"}, **second)
        done = script("--config", file, "--out", tmp_path / name, "--quiet", launcher=launcher)
        assert 0 == done.returncode, done.stderr[-3000:]
    for term in ("ascent_forget", "kl_retain"):
        one, two = (losses(tmp_path / name, term) for name in ("kl_one", "kl_two"))
        assert one and one == pytest.approx(two, abs=1e-5)
