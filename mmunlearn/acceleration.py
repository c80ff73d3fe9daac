"""Where a run computes: its accelerator, device, threads and determinism, from the run's settings."""

import os
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from mmunlearn.errors import UserError
from mmunlearn.run import Run, TrainSettings


def accelerator(run: Run) -> Accelerator:
    """The accelerator for a run's settings; accelerate's own gradient accumulation stays at one."""
    train = run.train
    if train.threads:
        torch.set_num_threads(train.threads)
    if train.determinism == "strict":
        torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = train.determinism == "off"
    torch.backends.cudnn.deterministic = train.determinism != "off"
    mixed = "no" if train.precision == "double" else train.precision
    options: dict[str, Any] = {"mixed_precision": mixed}
    if train.trackers:
        options |= {"log_with": list(train.trackers), "project_dir": str(run.path)}
    if AcceleratorState._shared_state and AcceleratorState().mixed_precision != mixed:
        AcceleratorState._reset_state()  # an earlier run of this process had another precision
    try:
        return Accelerator(cpu=on_cpu(train), **options)
    except ValueError as error:
        raise UserError(f"train: {str(error).splitlines()[0][:200]}") from error


def on_cpu(train: TrainSettings) -> bool:
    """Whether the run is for CPUs; accelerate joins several CPU processes only when it is told so."""
    forced = os.environ.get("ACCELERATE_USE_CPU", "").lower() in {"1", "true", "yes"}
    return train.device == "cpu" or forced or not torch.accelerator.is_available()
