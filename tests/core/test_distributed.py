"""Two processes give what one gives: losses, weights, running statistics, rows. One launch serves all tests.

python -m torch.distributed.run --nproc_per_node 2 tests/core/test_distributed.py OUT
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate import PartialState
from safetensors.torch import load_file, save_file
from torch import nn

from mmunlearn.atomic import write_json
from mmunlearn.engine import Engine
from mmunlearn.evaluate import Place, respond
from mmunlearn.handle import Decoding
from mmunlearn.phases import Optimiser, Phase, Stream, Term
from mmunlearn.records import read_rows
from mmunlearn.run import Run
from mmunlearn.testing.tiny import TinyHandle, TinySettings, tiny_splits

ROOT = Path(__file__).parents[2]
TASKS = ("classes", "labels", "tokens")
STOP_AFTER = 3


def difference(handle, batches, step):
    """Two streams of different and uneven length, one of them divided by examples."""
    return {
        "retain": Term(handle.score(batches["retain"]).nll.sum(), "retain"),
        "forget": Term(handle.score(batches["forget"]).nll.sum(), "forget.examples", -0.3),
    }


def own_count(handle, batches, step):
    """A mean over what the model gets wrong, and a term that exists where one example happens to be."""
    scored = handle.score(batches["retain"])
    wrong = (scored.logits.argmax(-1) != scored.targets).any(-1).float()
    terms = {"wrong": Term((scored.nll * wrong).sum(), "", 1.0, wrong.sum())}
    if "tiny/retain/0003" in batches["retain"].ids:
        here = torch.tensor([float(i == "tiny/retain/0003") for i in batches["retain"].ids])
        terms["one place only"] = Term((scored.nll * here).sum(), "retain")
    return terms


def phase(splits, terms, sizes=(8, 5), names=("retain", "forget"), **more):
    streams = {n: Stream(splits[n], size) for n, size in zip(names, sizes, strict=True)}
    spec = Optimiser(lr=0.05, momentum=0.9, weight_decay=0.1)
    return Phase(**{"name": "main", "streams": streams, "driver": "retain", "terms": terms, "spec": spec, **more})


class Killed(Exception):
    pass


class Stopping(Run):
    """Ends like a killed process, after a checkpoint."""

    def save(self, step, state):
        super().save(step, state)
        if step == STOP_AFTER:
            raise Killed


class Crowded(TinyHandle):
    """Only the last process is short of memory."""

    def score(self, batch):
        state = PartialState(cpu=True)
        if state.is_last_process and len(batch) > 1:
            raise torch.OutOfMemoryError("out of memory")
        return super().score(batch)


def scenarios():
    """Name -> (handle, phase, engine settings); the same on any number of processes."""
    from mmunlearn.vision.toy import toy_handle, toy_splits

    result = {}
    for task in TASKS:
        settings = TinySettings(task=task)
        splits = tiny_splits(settings, retain=17, forget=11)
        result[f"difference {task}"] = (TinyHandle(settings), phase(splits, difference, epochs=2), {})
        result[f"micro {task}"] = (TinyHandle(settings), phase(splits, difference, epochs=2), {"micro_batch": 2})
    splits = tiny_splits(retain=17, forget=11)
    alone = {"sizes": (8,), "names": ("retain",)}
    result["own count"] = (TinyHandle(), phase(splits, own_count, **alone, epochs=3), {"micro_batch": 2})
    result["memory"] = (Crowded(), phase(splits, difference), {})
    unused = TinyHandle()
    unused.module[2].extra = nn.Parameter(torch.ones(3))  # no forward ever sees it: weight decay must not either
    result["unused"] = (unused, phase(splits, difference), {})

    def combine(gradients):
        return [a + b.sign() * 0.01 for a, b in zip(gradients["retain"], gradients["forget"], strict=True)]

    result["combine"] = (TinyHandle(), phase(splits, difference, combine=combine), {"micro_batch": 3})
    pictures = toy_splits(retain=20, forget=10)
    # Ascent on a small network with batch norm magnifies rounding from step to step: a rate at which it stays small.
    vision = {"spec": Optimiser(lr=0.001), "sizes": (8, 5)}
    result["batch norm"] = (toy_handle(), phase(pictures, difference, epochs=2, **vision), {})
    result["resumed"] = (TinyHandle(), phase(splits, difference, epochs=3), {"checkpoint_every": 1})
    return result


def run_scenarios(folder, place):
    """Losses and weights of every scenario, and the evaluation's rows; the main process has them all."""
    losses, weights = {}, {}
    for name, (handle, part, train) in scenarios().items():
        path = folder / "runs" / name.replace(" ", "-")
        run = Run.scratch(path, 7, device="cpu", log_every=1, **train)
        Engine(handle, run).run([part])
        losses[name] = [event["terms"] for event in run.events("step")] if place.main else []
        weights |= {f"{name}/{key}": tensor.clone().contiguous() for key, tensor in handle.module.state_dict().items()}
    handle = TinyHandle()
    respond(Run.scratch(folder / "evaluation", 7), handle, tiny_splits()["retain"], Decoding(batch_size=4), place)
    return losses, weights


def main(out):
    state = PartialState(cpu=True)
    place = Place(state.process_index, state.num_processes)
    losses, weights = run_scenarios(out, place)
    save_file(weights, out / f"weights-{place.rank}.safetensors")
    if place.main:
        write_json(out / "losses.json", losses)
    state.wait_for_everyone()
    state.destroy_process_group()


def interrupted(folder):
    """The scenario "resumed", broken off by one process."""
    handle, part, train = scenarios()["resumed"]
    run = Stopping.scratch(folder / "runs" / "resumed", 7, device="cpu", log_every=1, **train)
    with pytest.raises(Killed):
        Engine(handle, run).run([part])


@pytest.fixture(scope="session")
def one(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    losses, weights = run_scenarios(folder, Place())
    return folder, losses, weights


@pytest.fixture(scope="session")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    interrupted(folder)
    words = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--rdzv_backend", "c10d"]
    words += ["--rdzv_endpoint", "localhost:0", str(Path(__file__)), str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    weights = [load_file(folder / f"weights-{rank}.safetensors") for rank in range(2)]
    return folder, json.loads((folder / "losses.json").read_text()), weights


NAMES = [f"{kind} {task}" for kind in ("difference", "micro") for task in TASKS]
NAMES += ["own count", "memory", "unused", "combine", "batch norm"]


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_have_the_losses_and_weights_of_one(name, one, two):
    _, losses, weights = one
    assert len(losses[name]) == len(two[1][name]) > 1
    for a, b in zip(losses[name], two[1][name], strict=True):
        assert a == pytest.approx(b, rel=1e-5, abs=1e-5)
    for key, tensor in weights.items():
        if key.startswith(f"{name}/"):
            assert torch.allclose(tensor.double(), two[2][0][key].double(), rtol=1e-5, atol=1e-5), key


def test_running_statistics_are_those_of_the_global_batch(one, two):
    keys = [key for key in one[2] if key.startswith("batch norm/") and "running" in key]
    assert len(keys) > 10
    for key in keys:
        assert torch.allclose(one[2][key], two[2][0][key], rtol=1e-4, atol=1e-5), key


def test_both_processes_hold_bit_equal_weights(two):
    for key, tensor in two[2][0].items():
        assert torch.equal(tensor, two[2][1][key]), key


def test_a_run_begun_by_one_process_is_finished_by_two(one, two):
    _, losses, _ = one
    assert [STOP_AFTER] == [e["step"] for e in Run.scratch(two[0] / "runs/resumed").events("resumed")]
    for a, b in zip(losses["resumed"], two[1]["resumed"], strict=True):
        assert a == pytest.approx(b, abs=1e-5)
    for key, tensor in one[2].items():
        if key.startswith("resumed/"):
            assert torch.allclose(tensor, two[2][0][key], atol=1e-5), key


def test_out_of_memory_on_one_process_shrinks_both(two):
    assert [2, 1] == [e["micro_batch"] for e in Run.scratch(two[0] / "runs/memory").events("out_of_memory")]


def test_evaluation_is_shared_and_merges_to_the_rows_of_one_process(one, two):
    folder = two[0] / "evaluation/responses/retain"
    shards = {f.name: f.read_text().count("\n") for f in folder.glob("rows-*")}
    assert {"rows-00000.jsonl": 12, "rows-00001.jsonl": 12} == shards
    alone, merged = read_rows(one[0] / "evaluation/responses/retain"), read_rows(folder)
    assert [row["id"] for row in alone] == [row["id"] for row in merged]
    for a, b in zip(alone, merged, strict=True):
        assert a["nll"] == pytest.approx(b["nll"], abs=1e-6)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
