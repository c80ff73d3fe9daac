"""InternVL in its transformers form: every tile is a row of the tower's batch."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from torch import Tensor, nn

from . import _tiny
from .llava import Llava

NAMED = {
    "start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>",
    "video_token": "<video>",
}  # fmt: skip


class InternVl(Llava):
    """InternVLForConditionalGeneration: pixel_values (tile, channel, height, width) of all pictures."""

    types = ("internvl",)  # type: ignore[assignment]

    def encode(self, model: nn.Module, pixels: Tensor) -> Tensor:
        """The hidden layer that the projector reads; -1 is the normalised last one."""
        if self._layers(model) != [-1]:
            return super().encode(model, pixels)
        return self.tower(model)(pixels).last_hidden_state

    def served(self, model: nn.Module, features: Tensor) -> Any:
        """An output that holds just that layer."""
        if self._layers(model) != [-1]:
            return super().served(model, features)
        return SimpleNamespace(last_hidden_state=features)


def tiny(architecture: Mapping[str, Any]) -> tuple[Any, Any]:
    """A small random model and its processor; weights come from torch's global generator."""
    from transformers import (
        GotOcr2ImageProcessor,
        InternVLConfig,
        InternVLForConditionalGeneration,
        InternVLProcessor,
        InternVLVideoProcessor,
        InternVLVisionConfig,
        Qwen2Config,
    )

    sizes = _tiny.sized(architecture, vision={**_tiny.VISION, "image_size": 28, "patch_size": 7}, text={})
    tk = _tiny.tokenizer("<|im_end|>", ["<|im_start|>", "<|im_end|>"], named=NAMED)
    side, patch, ratio = sizes["vision"]["image_size"], sizes["vision"]["patch_size"], 0.5
    sizes["vision"] |= {"image_size": [side, side], "patch_size": [patch, patch]}
    tokens = int((side // patch) ** 2 * ratio**2)
    config = InternVLConfig(
        vision_config=InternVLVisionConfig(**sizes["vision"]), downsample_ratio=ratio, image_seq_length=tokens,
        text_config=Qwen2Config(vocab_size=len(tk), **_tiny.special_ids(tk), **sizes["text"]),
        image_token_id=tk.convert_tokens_to_ids(NAMED["context_image_token"]),
    )  # fmt: skip
    processor = InternVLProcessor(
        image_processor=GotOcr2ImageProcessor(
            size={"height": side, "width": side}, crop_to_patches=True, min_patches=1, max_patches=4
        ),
        tokenizer=tk, video_processor=InternVLVideoProcessor(size={"height": side, "width": side}),
        image_seq_length=tokens,
        chat_template=_tiny.chat("<|im_start|>{role}\n", "<|im_end|>\n", "<IMG_CONTEXT>\n"),
    )  # fmt: skip
    return InternVLForConditionalGeneration(config), processor
