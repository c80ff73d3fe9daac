"""Every gradient method gives the same weights on one process and on two (one launch serves all methods)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mmunlearn import registry
from mmunlearn.methods.base import GradientMethod
from mmunlearn.testing.two_processes import trajectory, weights

# A method whose loss is no sum over examples (its batteries say so under "micro-batches") depends on how a batch is
# split, between processes too.
NAMES = [
    f"{component.modality}:{component.name}"
    for component in registry.components("methods")
    if component.modality in {"core", "vision", "vlm", "diffusion"}
    and issubclass(component.load(), GradientMethod)
    and "micro-batches" not in component.load().known_failures
]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """What two processes wrote."""
    out = tmp_path_factory.mktemp("two")
    words = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "0", "--rdzv_backend", "c10d"]
    words += ["--rdzv_endpoint", "localhost:0", "-m", "mmunlearn.testing.two_processes", str(out), *NAMES]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return out


@pytest.fixture(scope="session")
def spread(folder) -> dict[str, torch.Tensor]:
    """Weights made by two processes."""
    return load_file(folder / "weights.safetensors")


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_equal_one(name, spread, tmp_path):
    alone = weights([name], tmp_path)
    for key, tensor in alone.items():
        other = spread[key].double()
        scale = 1.0 + tensor.double().abs().max()
        assert (tensor.double() - other).abs().max() <= 1e-4 * scale, key


def test_in_double_precision_a_whole_training_has_the_same_losses(folder, tmp_path):
    """At the mini recipe's own rate, with momentum and batch norm, which magnify rounding from step to step."""
    alone, spread = trajectory(tmp_path, "double"), json.loads((folder / "losses.json").read_text())["double"]
    assert len(alone) == len(spread) > 50
    assert max(alone) - min(alone) > 0.1  # it moved
    assert max(abs(a - b) for a, b in zip(alone, spread, strict=True)) <= 1e-9


def test_in_single_precision_the_first_losses_differ_by_rounding_only(folder, tmp_path):
    alone, spread = trajectory(tmp_path, "no"), json.loads((folder / "losses.json").read_text())["no"]
    assert alone[:5] == pytest.approx(spread[:5], rel=1e-5)
    assert alone[:3] == pytest.approx(trajectory(tmp_path, "double")[:3], rel=1e-4)  # the same run
