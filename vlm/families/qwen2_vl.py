"""Qwen2-VL."""

from collections.abc import Mapping
from typing import Any

from . import _qwen

ROPE = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10_000.0}


class Qwen2Vl(_qwen.Qwen):
    """Qwen2VLForConditionalGeneration."""

    types = ("qwen2_vl",)


def tiny(architecture: Mapping[str, Any]) -> tuple[Any, Any]:
    """A small random model and its processor; weights come from torch's global generator."""
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration, Qwen2VLProcessor

    def config(sizes: dict[str, Any], tokens: dict[str, Any]) -> Any:
        vision = {**sizes["vision"], "hidden_size": sizes["text"]["hidden_size"]}  # what the merger gives
        return Qwen2VLConfig(vision_config=vision, text_config=sizes["text"], **tokens)

    vision = {
        "depth": 2, "embed_dim": 32, "num_heads": 2, "mlp_ratio": 2, "patch_size": 14, "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    }  # fmt: skip
    classes = (Qwen2VLForConditionalGeneration, Qwen2VLProcessor)
    return _qwen.build(architecture, config, vision, classes, {"rope_parameters": ROPE})
