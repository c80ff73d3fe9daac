"""LLaVA 1.6 (LLaVA-NeXT): tiles of the picture beside a small whole one, padded to the same number of tiles."""

from collections.abc import Mapping
from typing import Any

from . import _tiny
from .base import Family


class LlavaNext(Family):
    """LlavaNextForConditionalGeneration: pixel_values (picture, tile, channel, height, width) and image_sizes."""

    types = ("llava_next",)
    separable = False


def tiny(architecture: Mapping[str, Any]) -> tuple[Any, Any]:
    """A small random model and its processor; weights come from torch's global generator."""
    from transformers import (
        CLIPVisionConfig,
        LlamaConfig,
        LlavaNextConfig,
        LlavaNextForConditionalGeneration,
        LlavaNextImageProcessor,
        LlavaNextProcessor,
    )

    sizes = _tiny.sized(architecture, vision={**_tiny.VISION, "image_size": 28, "patch_size": 14}, text={})
    size = sizes["vision"]["image_size"]
    grids = [[size, 2 * size], [2 * size, size], [2 * size, 2 * size]]
    tk = _tiny.tokenizer("</s>", ["<image>"], start="<s>")
    config = LlavaNextConfig(
        vision_config=CLIPVisionConfig(**sizes["vision"]),
        text_config=LlamaConfig(vocab_size=len(tk), **_tiny.special_ids(tk), **sizes["text"]),
        image_token_index=tk.convert_tokens_to_ids("<image>"), image_grid_pinpoints=grids,
        vision_feature_layer=-2, vision_feature_select_strategy="default",
    )  # fmt: skip
    pictures = LlavaNextImageProcessor(
        size={"shortest_edge": size}, crop_size={"height": size, "width": size}, image_grid_pinpoints=grids
    )
    processor = LlavaNextProcessor(
        image_processor=pictures, tokenizer=tk, patch_size=sizes["vision"]["patch_size"], image_token="<image>",
        vision_feature_select_strategy="default", num_additional_image_tokens=1,
        chat_template=_tiny.chat("{role}: ", "", "<image>\n", roles={"user": "USER", "assistant": "ASSISTANT"}),
    )  # fmt: skip
    return LlavaNextForConditionalGeneration(config), processor
