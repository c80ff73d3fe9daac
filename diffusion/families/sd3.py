"""Stable Diffusion 3: a transformer over picture and text tokens together; two CLIP encoders and T5."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..conditioning import Condition
from ..groups import SD3_CONTEXT, TRANSFORMER
from .base import Family, as_type, clip_penultimate, expanded

T5_LENGTH = 256


class Sd3(Family):
    """StableDiffusion3Pipeline; predicts the flow's velocity."""

    name = "sd3"
    pipeline = "StableDiffusion3Pipeline"
    denoiser = "transformer"
    encoders = (("text_encoder", "tokenizer"), ("text_encoder_2", "tokenizer_2"), ("text_encoder_3", "tokenizer_3"))
    flow = True
    joint = True
    groups = TRANSFORMER
    context = SD3_CONTEXT

    def text_length(self, index: int, tokenizer: Any, wanted: int | None) -> int:
        """The CLIP tokenizer's own; T5_LENGTH for T5 unless the settings say another."""
        return (wanted or T5_LENGTH) if index == 2 else tokenizer.model_max_length

    def encode(self, encoders: Sequence[nn.Module], ids: Sequence[Tensor]) -> Condition:
        """CLIP states beside each other, padded to T5's width, then T5's states; both pooled embeddings joined."""
        made = [clip_penultimate(encoder, part) for encoder, part in zip(encoders[:2], ids[:2], strict=True)]
        words = encoders[2](ids[2])[0]
        clip = torch.cat([states for states, _ in made], -1)
        clip = functional.pad(clip, (0, words.shape[-1] - clip.shape[-1]))
        return Condition(torch.cat([clip, words.to(clip.dtype)], 1), torch.cat([pooled for _, pooled in made], -1))

    def predict(
        self, denoiser: nn.Module, latents: Tensor, t: Tensor, condition: Condition, *, factor: int, guidance: float
    ) -> Tensor:
        """Velocity: noise minus clean."""
        assert condition.pooled is not None
        return denoiser(
            hidden_states=as_type(latents, denoiser), timestep=as_type(expanded(t, latents), denoiser),
            encoder_hidden_states=as_type(condition.states, denoiser),
            pooled_projections=as_type(condition.pooled, denoiser), return_dict=False,
        )[0]  # fmt: skip

    def picture_tokens(self, latents: Tensor) -> int:
        """Patches of 2 x 2 latent cells (for dynamic shifting, which SD3 does not use by default)."""
        return latents.shape[-2] * latents.shape[-1] // 4
