"""LLaVA 1.5 and what shares its class (LLaVA-Phi-3): one row of tower features a picture."""

from types import SimpleNamespace
from typing import Any

from torch import Tensor, nn

from .base import Family


class Llava(Family):
    """LlavaForConditionalGeneration: the features are one hidden layer of a CLIP or SigLIP tower."""

    types = ("llava", "vipllava")

    def encode(self, model: nn.Module, pixels: Tensor) -> Tensor:
        """The hidden layers that the projector reads, side by side: (tile, token, width × layers)."""
        import torch

        tower = self.tower(model)
        hidden = tower(pixels, output_hidden_states=True).hidden_states
        return torch.cat([hidden[layer] for layer in self._layers(model)], dim=-1)

    def served(self, model: nn.Module, features: Tensor) -> Any:
        """An output that holds just those layers."""
        layers = self._layers(model)
        parts = features.chunk(len(layers), dim=-1)
        return SimpleNamespace(hidden_states=dict(zip(layers, parts, strict=True)))

    def _layers(self, model: Any) -> list[int]:
        layer = model.config.vision_feature_layer
        return list(layer) if isinstance(layer, (list, tuple)) else [layer]
