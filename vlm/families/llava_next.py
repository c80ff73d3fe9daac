"""LLaVA 1.6 (LLaVA-NeXT): tiles of the picture beside a small whole one."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from . import _tiny
from .base import Picture
from .llava import Llava


class LlavaNext(Llava):
    """LlavaNextForConditionalGeneration: the tiles of all pictures in a row, (tile, channel, height, width), and
    image_sizes, from which the model tells whose they are."""

    types = ("llava_next",)  # type: ignore[assignment]

    def picture(self, processor: Any, image: Any) -> Picture:
        """Tiles as the first axis: they need no padding to the batch's largest number."""
        made = super().picture(processor, image)
        return Picture({**made.tensors, self.pixels: made.tensors[self.pixels][0]}, made.ids)

    def stand_in(self, features: Sequence[Tensor]) -> Tensor:
        """(tile, 1, token, width): the model asks for four axes."""
        return super().stand_in(features)[:, None]

    def served(self, model: nn.Module, features: Tensor) -> Any:
        """As LLaVA."""
        return super().served(model, features[:, 0])


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
        chat_template=_tiny.chat("{role}: ", " ", "<image>\n", roles={"user": "USER", "assistant": "ASSISTANT"}),
    )  # fmt: skip
    return LlavaNextForConditionalGeneration(config), processor
