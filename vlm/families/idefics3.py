"""Idefics3 and SmolVLM: tiles of the picture as separate rows, told apart by marks in the text."""

from collections.abc import Mapping
from typing import Any

from . import _tiny
from .base import Family

MARKS = ["<fake_token_around_image>", "<image>", "<global-img>", "<end_of_utterance>", "<|im_start|>"]


class Idefics3(Family):
    """Idefics3ForConditionalGeneration: pixel_values (text, tile, channel, height, width), unused tiles all zero."""

    types = ("idefics3", "smolvlm")
    tower_path = "model.vision_model"
    projector_path = "model.connector"
    language_path = "model.text_model"
    separable = False


def tiny(architecture: Mapping[str, Any]) -> tuple[Any, Any]:
    """A small random model and its processor; weights come from torch's global generator."""
    from transformers import (
        Idefics3Config,
        Idefics3ForConditionalGeneration,
        Idefics3ImageProcessor,
        Idefics3Processor,
    )

    sizes = _tiny.sized(architecture, vision={**_tiny.VISION, "image_size": 28, "patch_size": 7}, text={})
    rows = [f"<row_{r}_col_{c}>" for r in range(1, 7) for c in range(1, 7)]
    tk = _tiny.tokenizer("<end_of_utterance>", [*MARKS, *rows])
    side, patch, scale = sizes["vision"]["image_size"], sizes["vision"]["patch_size"], 2
    config = Idefics3Config(
        vision_config=sizes["vision"], scale_factor=scale, image_token_id=tk.convert_tokens_to_ids("<image>"),
        pad_token_id=tk.pad_token_id,
        text_config={"model_type": "llama", "vocab_size": len(tk), **_tiny.special_ids(tk), **sizes["text"]},
    )  # fmt: skip
    processor = Idefics3Processor(
        image_processor=Idefics3ImageProcessor(
            size={"longest_edge": 2 * side}, max_image_size={"longest_edge": side}, do_image_splitting=True
        ),
        tokenizer=tk, image_seq_len=(side // patch) ** 2 // scale**2,
        chat_template=_tiny.chat(
            "{role}: ", "<end_of_utterance>\n", "<image>", head="<|im_start|>",
            roles={"user": "User", "assistant": "Assistant", "system": "System"},
        ),
    )  # fmt: skip
    return Idefics3ForConditionalGeneration(config), processor
