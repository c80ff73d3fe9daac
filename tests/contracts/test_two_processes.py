"""Every gradient method gives the same weights on one process and on two (one launch serves all methods)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mmunlearn import registry
from mmunlearn.methods.base import GradientMethod
from mmunlearn.testing.two_processes import weights

NAMES = [
    f"{component.modality}:{component.name}"
    for component in registry.components("methods")
    if component.modality in {"core", "vision"} and issubclass(component.load(), GradientMethod)
]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def spread(tmp_path_factory) -> dict[str, torch.Tensor]:
    """Weights made by two processes."""
    out = tmp_path_factory.mktemp("two")
    words = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "0", "--rdzv_backend", "c10d"]
    words += ["--rdzv_endpoint", "localhost:0", "-m", "mmunlearn.testing.two_processes", str(out), *NAMES]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return load_file(out / "weights.safetensors")


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_equal_one(name, spread, tmp_path):
    alone = weights([name], tmp_path)
    for key, tensor in alone.items():
        other = spread[key].double()
        scale = 1.0 + tensor.double().abs().max()
        assert (tensor.double() - other).abs().max() <= 1e-4 * scale, key
