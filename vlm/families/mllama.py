"""Mllama (Llama 3.2 Vision): pictures enter by cross-attention, whose mask follows the picture's place in the text."""

from collections.abc import Mapping
from typing import Any

from . import _tiny
from .base import Family

MARKS = ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|image|>", "<|python_tag|>"]


class Mllama(Family):
    """MllamaForConditionalGeneration."""

    types = ("mllama",)
    tower_path = "model.vision_model"
    separable = False
    mixed = False


def tiny(architecture: Mapping[str, Any]) -> tuple[Any, Any]:
    """A small random model and its processor; weights come from torch's global generator."""
    from transformers import MllamaConfig, MllamaForConditionalGeneration, MllamaImageProcessor, MllamaProcessor
    from transformers.models.mllama.configuration_mllama import MllamaTextConfig, MllamaVisionConfig

    vision = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_global_layers": 1,
        "attention_heads": 2, "image_size": 28, "patch_size": 14, "max_num_tiles": 4,
        "intermediate_layers_indices": [0],
    }  # fmt: skip
    sizes = _tiny.sized(architecture, vision=vision, text={"num_hidden_layers": 3, "cross_attention_layers": [1]})
    tk = _tiny.tokenizer("<|eot_id|>", MARKS, start="<|begin_of_text|>")
    v = sizes["vision"]
    tiles = v["max_num_tiles"]
    v["supported_aspect_ratios"] = [[w, h] for w in range(1, tiles + 1) for h in range(1, tiles + 1) if w * h <= tiles]
    v["vision_output_dim"] = v["hidden_size"] * (1 + len(v["intermediate_layers_indices"]))
    config = MllamaConfig(
        vision_config=MllamaVisionConfig(**v),
        # The head leaves out the picture's token, which is the last row of the embeddings.
        text_config=MllamaTextConfig(vocab_size=len(tk), **_tiny.special_ids(tk), **sizes["text"]),
        image_token_index=tk.convert_tokens_to_ids("<|image|>"),
    )  # fmt: skip
    processor = MllamaProcessor(
        image_processor=MllamaImageProcessor(
            size={"height": v["image_size"], "width": v["image_size"]}, max_image_tiles=tiles
        ),
        tokenizer=tk,
        chat_template=_tiny.chat(
            "<|start_header_id|>{role}<|end_header_id|>\n\n", "<|eot_id|>", "<|image|>", head="{{ bos_token }}"
        ),
    )
    return MllamaForConditionalGeneration(config), processor
