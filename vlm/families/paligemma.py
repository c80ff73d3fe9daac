"""PaliGemma: picture and question are read in both directions, the answer from left to right."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from . import _tiny
from .base import Family, Picture


class PaliGemma(Family):
    """PaliGemmaForConditionalGeneration: token_type_ids are 0 in the part read in both directions, 1 in the answer."""

    types = ("paligemma",)
    ahead = False  # every token of the prompt sees the last one
    template = "paligemma"

    def picture(self, processor: Any, image: Any) -> Picture:
        """The picture's tokens alone; the processor would put the text's first and last mark behind them."""
        made = processor.image_processor(images=image, return_tensors="pt")
        ids = (self.placeholder_id(processor),) * processor.image_seq_length
        return Picture({self.pixels: made[self.pixels]}, ids)

    def text(self, ids: Sequence[int], start: int, picture: Picture | None) -> dict[str, Tensor]:
        """token_type_ids of one text."""
        return {"token_type_ids": (torch.arange(len(ids)) >= start).long()}

    def encode(self, model: nn.Module, pixels: Tensor) -> Tensor:
        """The tower's last hidden state."""
        return self.tower(model)(pixels).last_hidden_state

    def served(self, model: nn.Module, features: Tensor) -> Any:
        """An output that holds it."""
        return SimpleNamespace(last_hidden_state=features)


def tiny(architecture: Mapping[str, Any]) -> tuple[Any, Any]:
    """A small random model and its processor; weights come from torch's global generator."""
    from transformers import (
        GemmaConfig,
        PaliGemmaConfig,
        PaliGemmaForConditionalGeneration,
        PaliGemmaProcessor,
        SiglipImageProcessor,
        SiglipVisionConfig,
    )

    vision = {**_tiny.VISION, "image_size": 28, "patch_size": 14, "vision_use_head": False}
    sizes = _tiny.sized(architecture, vision=vision, text={"num_key_value_heads": 1, "head_dim": 16})
    side = sizes["vision"]["image_size"]
    pictures: Any = SiglipImageProcessor(size={"height": side, "width": side})
    pictures.image_seq_length = (side // sizes["vision"]["patch_size"]) ** 2
    tk = _tiny.tokenizer("<eos>", ["<image>", "<bos>"])
    tk.bos_token = "<bos>"
    processor = PaliGemmaProcessor(image_processor=pictures, tokenizer=tk)  # adds places and segments to the tokens
    width = sizes["text"]["hidden_size"]
    config = PaliGemmaConfig(
        vision_config=SiglipVisionConfig(**{**sizes["vision"], "projection_dim": width}), projection_dim=width,
        text_config=GemmaConfig(vocab_size=len(tk), **_tiny.special_ids(tk), **sizes["text"]),
        image_token_index=tk.convert_tokens_to_ids("<image>"), hidden_size=width,
    )  # fmt: skip
    return PaliGemmaForConditionalGeneration(config), processor
