"""The train script on a small UnlearnCanvas: original, then each gradient method; one process and two."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import yaml
from mmunlearn.diffusion import train
from mmunlearn.diffusion.benchmarks.unlearncanvas import Unlearncanvas
from safetensors.torch import load_file

from mmunlearn import registry
from mmunlearn.methods.base import GradientMethod
from mmunlearn.testing.method_checks import toy_config

ROOT = Path(__file__).parents[2]
MODULE = "mmunlearn.diffusion.train"
LAUNCH = ("-m", "accelerate.commands.launch", "--num_processes", "2", "--cpu", "-m")

# Methods of the core that train on denoising errors; the others say no (test_core_methods).
ADAM = {"batch_size": 4, "epochs": 1, "optimiser": {"name": "adam", "lr": 0.0005}}
OF_THE_CORE = ("finetune", "grad_ascent", "grad_diff", "l1_sparse", "npo", "simnpo", "task_vector")
METHODS = dict.fromkeys(OF_THE_CORE, ADAM) | {
    component.name: toy_config(component.load())
    for component in registry.components("methods")
    if component.modality == "diffusion" and issubclass(component.load(), GradientMethod)
}
# A step on pictures, a walk, a mask from gradients, erasers with an attack inside, an inner loop.
REPRESENTATIVE = ("grad_diff", "esd", "salun", "receler", "erase_diff")
ORIGINAL = {"name": "retrain", "on": "train", "epochs": 2, "batch_size": 8, "optimiser": {"name": "adam", "lr": 0.002}}

IN_TURN = """
import sys
from pathlib import Path
from mmunlearn.diffusion import train
from mmunlearn.processes import start_missing

start_missing("in_turn", sys.argv[1:])
for folder in map(Path, sys.argv[1:]):
    sys.argv = ["train", "--config", str(folder / "train.yaml"), "--out", str(folder / "run"), "--quiet"]
    if code := train.main():
        sys.exit(code)
"""


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unlearncanvas") / "mini"
    Unlearncanvas().build_mini(folder, 0, {"styles": 2, "objects": 2, "pictures": 4, "size_px": 16})
    return folder


def configured(folder, root, method, start=None, **more):
    """A folder with train.yaml in it."""
    folder.mkdir(parents=True)
    benchmark = {"name": "unlearncanvas", "request": {"kind": "style", "name": "Twemoji"}, "seeds": [188],
                 "subset": {"objects": ["Dogs", "Trees"]}}  # fmt: skip
    content = {
        "modality": "diffusion", "benchmark": benchmark | {"heads": {"steps": 4}}, "edition": "mini",
        "root": str(root), "row": "", "method": method, "train": {"device": "cpu", "log_every": 1, "precision": "no"},
        "evaluate": {"limit": 6, "decoding": {"steps": 2}},
    }  # fmt: skip
    model = {"name": "scratch/sd", "vae": "unshuffle", "size_px": 16, **Unlearncanvas.tiny_model}
    content |= {"model": model} if start is None else {"start": str(start)}
    (folder / "train.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(content | more))))
    return folder


def environment(folder):
    paths = os.pathsep.join([str(ROOT), str(folder)])
    return {"OMP_NUM_THREADS": "1", "MMUNLEARN_CACHE": str(folder / "cache"), "PYTHONPATH": paths}


def script(folder, *words):
    command = [sys.executable, *map(str, words)]
    there = os.environ | environment(folder)
    return subprocess.run(command, cwd=ROOT, env=there, capture_output=True, text=True, check=False)


def terms(folder):
    """Terms of every step of a run, in order."""
    events = map(json.loads, (folder / "run/events.jsonl").read_text().splitlines())
    return [event["terms"] for event in events if event["kind"] == "step"]


@pytest.fixture(scope="session")
def alone(root, tmp_path_factory):
    """The original as a user makes it, with one process."""
    folder = configured(tmp_path_factory.mktemp("one") / "original", root, ORIGINAL)
    done = script(folder, "-m", MODULE, "--config", folder / "train.yaml", "--out", folder / "run", "--quiet")
    assert 0 == done.returncode, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="session")
def here(root, alone, tmp_path_factory):
    """here(name): runs a method on the original in this process, once a session; returns its folder."""
    base = tmp_path_factory.mktemp("here")

    @cache
    def run(name):
        folder = configured(base / name, root, {"name": name, **METHODS[name]}, start=alone / "run")
        words = ["--config", str(folder / "train.yaml"), "--out", str(folder / "run"), "--quiet"]
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MMUNLEARN_CACHE", environment(alone)["MMUNLEARN_CACHE"])
            patch.setattr(sys, "argv", ["train", *words])
            assert 0 == train.main()
        return folder

    return run


@pytest.fixture(scope="session")
def spread(root, alone, tmp_path_factory):
    """spread(names): the original and those methods on it in one launch with two processes."""
    base = tmp_path_factory.mktemp("two")

    def run(names):
        place = base / f"{len(names)}"
        folders = [configured(place / "original", root, ORIGINAL)]
        folders += [configured(place / n, root, {"name": n, **METHODS[n]}, start=alone / "run") for n in names]
        (place / "in_turn.py").write_text(IN_TURN)
        done = script(place, *LAUNCH, "in_turn", *folders)
        assert 0 == done.returncode, done.stderr[-3000:]
        return {folder.name: folder for folder in folders}

    return run


def assert_equal_losses(one, two):
    assert one and [set(step) for step in one] == [set(step) for step in two]
    for number, (first, second) in enumerate(zip(one, two, strict=True)):
        assert first == pytest.approx(second, abs=1e-5), f"step {number}"


def test_the_script_trains_and_ends_with_cells(alone):
    losses = [step["ce"] for step in terms(alone)]
    assert 4 == len(losses) and min(losses) > 0 and len(set(losses)) == 4
    results = json.loads((alone / "run/results.json").read_text())
    assert {"style/ua", "style/ira", "style/cra", "quality/fid_mini"} <= set(results["cells"])
    assert 6 == len(list((alone / "run/images/answers").glob("*.jpg")))
    counts = {name: cell["n"] for name, cell in results["cells"].items()}
    # Two prompts ask for the style, two for the other one, two for photographs, which are in no mean over styles.
    assert {"style/ua": 2, "style/ira": 2, "style/cra": 2, "quality/fid_mini": 4} | counts == counts


@pytest.mark.parametrize("name", METHODS)
def test_every_gradient_method_unlearns_by_the_script(name, here):
    folder = here(name)
    assert terms(folder)
    results = json.loads((folder / "run/results.json").read_text())
    assert name == results["method"] and "style/ua" in results["cells"]
    assert "weights_unchanged" not in json.dumps(results["flags"])
    if not json.loads((folder / "run/model/handle.json").read_text()).get("guard"):
        changed = load_file(folder / "run/model/changed.safetensors")
        assert changed and not [key for key in changed if key.startswith("vae.")]


def test_a_wrong_setting_ends_in_one_line(root, tmp_path, monkeypatch, capsys):
    folder = configured(tmp_path / "wrong", root, ORIGINAL, model={"name": "scratch/sd", "vaee": "unshuffle"})
    monkeypatch.setattr(sys, "argv", ["train", "--config", str(folder / "train.yaml"), "--out", str(folder / "run")])
    assert 2 == train.main()
    told = capsys.readouterr().err
    assert "model.vaee" in told and "Traceback" not in told and len(told.strip().splitlines()) <= 4
    assert not (folder / "run").exists()


def test_accelerate_gives_the_losses_of_one_process(alone, here, spread):
    both = spread(REPRESENTATIVE)
    assert_equal_losses(terms(alone), terms(both["original"]))
    shards = list((both["original"] / "run/responses/answers").glob("rows-*.jsonl"))
    assert 2 == len(shards) and all(shard.stat().st_size for shard in shards)
    for name in REPRESENTATIVE:
        assert_equal_losses(terms(here(name)), terms(both[name]))


@pytest.mark.slow
def test_accelerate_gives_the_losses_of_one_process_for_every_method(here, spread):
    both = spread(tuple(METHODS))
    for name in METHODS:
        assert_equal_losses(terms(here(name)), terms(both[name]))
