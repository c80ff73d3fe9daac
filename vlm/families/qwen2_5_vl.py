"""Qwen2.5-VL: Qwen2-VL with window attention in its tower."""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from . import _qwen
from .base import Picture
from .qwen2_vl import ROPE


class Qwen25Vl(_qwen.Qwen):
    """Qwen2_5_VLForConditionalGeneration."""

    types = ("qwen2_5_vl",)

    def features(self, model: nn.Module, pictures: Sequence[Picture]) -> list[Tensor]:
        """Patches in the order of the picture; the tower hands them to its merger window by window."""
        tower: Any = self.tower(model)
        kept = []
        for picture, patches in zip(pictures, super().features(model, pictures), strict=True):
            groups = patches.view(-1, tower.spatial_merge_size**2, patches.shape[-1])
            order = torch.as_tensor(_windows(tower, picture.tensors["image_grid_thw"]), device=patches.device)
            kept.append(groups[order.argsort()].flatten(0, 1))
        return kept


def _windows(tower: Any, grid: Tensor) -> Any:
    """Order in which the tower reads groups of patches (in older transformers a method of the tower)."""
    if hasattr(tower, "get_window_index"):
        return tower.get_window_index(grid)[0]
    module = importlib.import_module(type(tower).__module__)
    return module.get_vision_window_index(
        grid, spatial_merge_size=tower.spatial_merge_size, window_size=tower.window_size, patch_size=tower.patch_size
    )[0]


def tiny(architecture: Mapping[str, Any]) -> tuple[Any, Any]:
    """A small random model and its processor; weights come from torch's global generator."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor

    def config(sizes: dict[str, Any], tokens: dict[str, Any]) -> Any:
        vision = {**sizes["vision"], "out_hidden_size": sizes["text"]["hidden_size"]}
        return Qwen2_5_VLConfig(vision_config=vision, text_config=sizes["text"], **tokens)

    vision = {
        "depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "patch_size": 14,
        "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": 56, "fullatt_block_indexes": [1],
    }  # fmt: skip
    classes = (Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor)
    return _qwen.build(architecture, config, vision, classes, {"rope_parameters": ROPE})
