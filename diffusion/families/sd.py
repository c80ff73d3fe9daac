"""Stable Diffusion 1.x and 2.x: a U-Net over latents with cross-attention to CLIP's last states."""

from collections.abc import Sequence

from torch import Tensor, nn

from ..conditioning import Condition
from ..groups import UNET, UNET_CONTEXT
from .base import Family, as_type, expanded


class Sd(Family):
    """StableDiffusionPipeline."""

    name = "sd"
    pipeline = "StableDiffusionPipeline"
    groups = UNET
    context = UNET_CONTEXT

    def encode(self, encoders: Sequence[nn.Module], ids: Sequence[Tensor]) -> Condition:
        """CLIP's last states, after its final layer norm."""
        return Condition(encoders[0](ids[0])[0])

    def predict(
        self, denoiser: nn.Module, latents: Tensor, t: Tensor, condition: Condition, *, factor: int, guidance: float
    ) -> Tensor:
        """Noise, v or clean latents, as the schedule says."""
        states = as_type(condition.states, denoiser)
        return denoiser(as_type(latents, denoiser), expanded(t, latents), states, return_dict=False)[0]
