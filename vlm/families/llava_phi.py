"""LLaVA-Phi-3 (xtuner/llava-phi-3-mini-hf): LLaVA's class and family with a Phi-3 decoder and its turns."""

from collections.abc import Mapping
from typing import Any

from . import _tiny


def tiny(architecture: Mapping[str, Any]) -> tuple[Any, Any]:
    """A small random model and its processor; weights come from torch's global generator."""
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
        Phi3Config,
    )

    sizes = _tiny.sized(architecture, vision={**_tiny.VISION, "image_size": 56, "patch_size": 14}, text={})
    tk = _tiny.tokenizer("<|end|>", ["<|user|>", "<|assistant|>", "<|system|>", "<image>"])
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**sizes["vision"]),
        text_config=Phi3Config(vocab_size=len(tk), **_tiny.special_ids(tk), **sizes["text"]),
        image_token_index=tk.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-2, vision_feature_select_strategy="default",
    )  # fmt: skip
    size = sizes["vision"]["image_size"]
    pictures = CLIPImageProcessor(size={"shortest_edge": size}, crop_size={"height": size, "width": size})
    processor = LlavaProcessor(
        image_processor=pictures, tokenizer=tk, patch_size=sizes["vision"]["patch_size"], image_token="<image>",
        vision_feature_select_strategy="default", num_additional_image_tokens=1,
        chat_template=_tiny.chat("<|{role}|>\n", "<|end|>\n", "<image>\n"),
    )  # fmt: skip
    return LlavaForConditionalGeneration(config), processor
