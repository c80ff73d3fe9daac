"""Qwen2.5-VL: Qwen2-VL with window attention in its tower."""

from collections.abc import Mapping
from typing import Any

from . import _qwen
from .qwen2_vl import ROPE


class Qwen25Vl(_qwen.Qwen):
    """Qwen2_5_VLForConditionalGeneration."""

    types = ("qwen2_5_vl",)


def tiny(architecture: Mapping[str, Any]) -> tuple[Any, Any]:
    """A small random model and its processor; weights come from torch's global generator."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor

    def config(sizes: dict[str, Any], tokens: dict[str, int]) -> Any:
        vision = {**sizes["vision"], "out_hidden_size": sizes["text"]["hidden_size"]}
        return Qwen2_5_VLConfig(vision_config=vision, text_config=sizes["text"], **tokens)

    vision = {
        "depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "patch_size": 14,
        "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": 56, "fullatt_block_indexes": [1],
    }  # fmt: skip
    classes = (Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor)
    return _qwen.build(architecture, config, vision, classes, {"rope_parameters": ROPE})
