"""FLUX.1: a transformer over packed latents and T5 tokens; CLIP gives the pooled prompt."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..conditioning import Condition
from ..groups import FLUX_CONTEXT, TRANSFORMER
from .base import Family, as_type, expanded

T5_LENGTH = 512


class Flux(Family):
    """FluxPipeline; predicts the flow's velocity. Guidance-distilled models take the scale as an input."""

    name = "flux"
    pipeline = "FluxPipeline"
    denoiser = "transformer"
    encoders = (("text_encoder", "tokenizer"), ("text_encoder_2", "tokenizer_2"))
    flow = True
    even_sigmas = True
    joint = True
    groups = TRANSFORMER
    context = FLUX_CONTEXT

    def text_length(self, index: int, tokenizer: Any, wanted: int | None) -> int:
        """CLIP's own; T5_LENGTH for T5 unless the settings say another."""
        return (wanted or T5_LENGTH) if index == 1 else tokenizer.model_max_length

    def encode(self, encoders: Sequence[nn.Module], ids: Sequence[Tensor]) -> Condition:
        """T5's states, and CLIP's pooled state."""
        return Condition(encoders[1](ids[1])[0], encoders[0](ids[0]).pooler_output)

    def predict(
        self, denoiser: nn.Module, latents: Tensor, t: Tensor, condition: Condition, *, factor: int, guidance: float
    ) -> Tensor:
        """Velocity of latents (batch, channel, height, width), packed for the transformer and unpacked again."""
        height, width = latents.shape[-2:]
        if height % 2 or width % 2:
            raise ValueError(f"FLUX packs 2 x 2 latent cells; got {height} x {width}")
        assert condition.pooled is not None
        scale = latents.new_full((len(latents),), guidance) if self.distilled(denoiser) else None
        made = denoiser(
            hidden_states=as_type(packed(latents), denoiser),
            timestep=as_type(expanded(t, latents) / 1000, denoiser),
            guidance=None if scale is None else as_type(scale, denoiser),
            pooled_projections=as_type(condition.pooled, denoiser),
            encoder_hidden_states=as_type(condition.states, denoiser),
            txt_ids=latents.new_zeros(condition.states.shape[1], 3),
            img_ids=positions(height // 2, width // 2).to(latents),
            return_dict=False,
        )[0]
        return unpacked(made, height, width)

    def distilled(self, denoiser: Any) -> bool:
        """Whether the transformer has guidance embeddings (FLUX.1-dev)."""
        return bool(denoiser.config.guidance_embeds)

    def picture_tokens(self, latents: Tensor) -> int:
        """Packed cells."""
        return latents.shape[-2] * latents.shape[-1] // 4


def packed(latents: Tensor) -> Tensor:
    """(batch, channel, height, width) as (batch, height/2 * width/2, channel * 4)."""
    batch, channel, height, width = latents.shape
    cells = latents.reshape(batch, channel, height // 2, 2, width // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return cells.reshape(batch, height // 2 * (width // 2), channel * 4)


def unpacked(tokens: Tensor, height: int, width: int) -> Tensor:
    """The reverse of `packed`."""
    batch, _, wide = tokens.shape
    cells = tokens.reshape(batch, height // 2, width // 2, wide // 4, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return cells.reshape(batch, wide // 4, height, width)


def positions(rows: int, columns: int) -> Tensor:
    """(rows * columns, 3): zero, row, column of each packed cell."""
    grid = torch.zeros(rows, columns, 3)
    grid[..., 1] += torch.arange(rows)[:, None]
    grid[..., 2] += torch.arange(columns)
    return grid.reshape(rows * columns, 3)
