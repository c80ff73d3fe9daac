"""Qwen3-VL: tower features of several layers reach the first layers of the language model (DeepStack)."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from . import _qwen
from .qwen2_vl import ROPE


class Qwen3Vl(_qwen.Qwen):
    """Qwen3VLForConditionalGeneration."""

    types = ("qwen3_vl",)

    def projector_paths(self, model: nn.Module) -> list[str]:
        """The merger, and one more for each layer that DeepStack takes."""
        layers: Any = model.get_submodule(f"{self.tower_path}.deepstack_merger_list")
        return [self.projector_path, *(f"{self.tower_path}.deepstack_merger_list.{i}" for i in range(len(layers)))]


def tiny(architecture: Mapping[str, Any]) -> tuple[Any, Any]:
    """A small random model and its processor; weights come from torch's global generator."""
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration, Qwen3VLProcessor

    def config(sizes: dict[str, Any], tokens: dict[str, Any]) -> Any:
        vision = {**sizes["vision"], "out_hidden_size": sizes["text"]["hidden_size"]}
        return Qwen3VLConfig(vision_config=vision, text_config=sizes["text"], **tokens)

    vision = {
        "depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "patch_size": 14,
        "spatial_merge_size": 2, "temporal_patch_size": 2, "num_position_embeddings": 64,
        "deepstack_visual_indexes": [0],
    }  # fmt: skip
    classes = (Qwen3VLForConditionalGeneration, Qwen3VLProcessor)
    return _qwen.build(architecture, config, vision, classes, {"rope_parameters": ROPE, "head_dim": 16})
