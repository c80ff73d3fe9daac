"""Handle classes by modality, imported when a run needs them; entry points of `mmunlearn.modalities` add others."""

import importlib
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from mmunlearn.errors import UserError, near_miss
from mmunlearn.handle import Handle

_HANDLES = {
    "vision": "mmunlearn.vision.handle:VisionHandle",
    "vlm": "mmunlearn.vlm.handle:VlmHandle",
    "diffusion": "mmunlearn.diffusion.handle:DiffusionHandle",
    "tiny": "mmunlearn.testing.tiny:TinyHandle",
}


def handle_class(modality: str) -> Any:
    """The class whose constructor takes (settings, seed) and whose `load` reads a saved model of `modality`."""
    known = dict(_HANDLES) | {entry.name: entry.value for entry in entry_points(group="mmunlearn.modalities")}
    if modality not in known:
        raise UserError(f"modality {modality!r} is not known. {near_miss(modality, known)}")
    module, _, name = known[modality].partition(":")
    return getattr(importlib.import_module(module), name)


def load_handle(modality: str, folder: Path, device: str = "cpu") -> Handle:
    """The model saved in `folder`, or in its subfolder `model` when `folder` is a finished run."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder. Give a run or the folder of a saved model.")
    place = folder / "model" if (folder / "model").is_dir() else folder
    return handle_class(modality).load(place, device)
