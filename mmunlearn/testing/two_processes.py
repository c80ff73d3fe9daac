"""One process equals two: applies methods to their toy tasks and stores the weights, and the losses of an audit.

Run it alone or under a launcher that starts several CPU processes; `weights(names)` and `trajectory(…)` in one process
must then agree.

    python -m torch.distributed.run --nproc_per_node 2 -m mmunlearn.testing.two_processes OUT vision:cf_k core:npo
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from accelerate import PartialState
from safetensors.torch import save_file

from mmunlearn import registry
from mmunlearn.atomic import write_json
from mmunlearn.cards import read_card
from mmunlearn.run import Run
from mmunlearn.testing.method_checks import toy, toy_config


def weights(names: Sequence[str], folder: Path) -> dict[str, torch.Tensor]:
    """Weights after each method "modality:name", by "name/tensor"; `folder` holds the scratch runs."""
    result: dict[str, torch.Tensor] = {}
    for name in names:
        modality, _, method = name.partition(":")
        cls = registry.load("methods", method, None if modality == "core" else modality)
        task = toy(modality)
        run = Run.scratch(folder / f"{modality}-{method}", 0, device="cpu")
        done = cls(toy_config(cls)).apply(task.original.copy(), task.splits, run)
        result |= {
            f"{name}/{key}": tensor.clone(memory_format=torch.contiguous_format)
            for key, tensor in done.module.state_dict().items()
        }
    return result


def trajectory(folder: Path, precision: str) -> list[float]:
    """Loss of every step of a training of the vision toy: batch norm, momentum, and the rate of MUFAC's mini recipe."""
    recipe = read_card("mufac").editions["mini"].recipe
    assert recipe["optimiser"]["momentum"] == 0.9
    task = toy("vision")
    run = Run.scratch(folder / f"audit-{precision}", 0, device="cpu", precision=precision, log_every=1)
    method = registry.load("methods", "retrain")({**recipe, "on": "train", "batch_size": 12})
    method.apply(task.original.copy(), task.splits, run)
    return [event["terms"]["ce"] for event in run.events("step")]


def main(words: Sequence[str]) -> None:
    """OUT NAME…: the main process writes OUT/weights.safetensors and OUT/losses.json."""
    out = Path(words[0])
    state = PartialState(cpu=True)
    out.mkdir(parents=True, exist_ok=True)
    content = weights(words[1:], out / "runs")
    losses = {precision: trajectory(out / "runs", precision) for precision in ("no", "double")}
    if state.is_main_process:
        write_json(out / "losses.json", losses)
        save_file(content, out / "weights.safetensors")
    state.wait_for_everyone()
    state.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1:])
