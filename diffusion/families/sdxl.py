"""Stable Diffusion XL: two CLIP encoders side by side, sizes and the pooled prompt as further conditions."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..conditioning import Condition
from ..groups import UNET, UNET_CONTEXT
from .base import Family, as_type, clip_penultimate, expanded


class Sdxl(Family):
    """StableDiffusionXLPipeline; original and target size are the picture's own, without crop."""

    name = "sdxl"
    pipeline = "StableDiffusionXLPipeline"
    encoders = (("text_encoder", "tokenizer"), ("text_encoder_2", "tokenizer_2"))
    groups = UNET
    context = UNET_CONTEXT

    def encode(self, encoders: Sequence[nn.Module], ids: Sequence[Tensor]) -> Condition:
        """Penultimate states of both encoders beside each other; the second one's projected embedding as pooled."""
        made = [clip_penultimate(encoder, part) for encoder, part in zip(encoders, ids, strict=True)]
        return Condition(torch.cat([states for states, _ in made], -1), made[-1][1])

    def predict(
        self, denoiser: nn.Module, latents: Tensor, t: Tensor, condition: Condition, *, factor: int, guidance: float
    ) -> Tensor:
        """Noise or v; the size conditions follow from the latents."""
        height, width = (factor * n for n in latents.shape[-2:])
        sizes = latents.new_tensor([height, width, 0, 0, height, width]).expand(len(latents), 6)
        assert condition.pooled is not None
        added = {"text_embeds": as_type(condition.pooled, denoiser), "time_ids": as_type(sizes, denoiser)}
        return denoiser(
            as_type(latents, denoiser), expanded(t, latents), as_type(condition.states, denoiser),
            added_cond_kwargs=added, return_dict=False,
        )[0]  # fmt: skip

    def zero_empty(self, facts: Mapping[str, Any]) -> bool:
        """As the pipeline's `force_zeros_for_empty_prompt` says."""
        return bool(facts.get("force_zeros_for_empty_prompt", True))
