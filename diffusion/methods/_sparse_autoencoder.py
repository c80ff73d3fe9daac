"""A top-k sparse autoencoder of activations: training and encoding."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mmunlearn.seeds import generator


class Autoencoder(NamedTuple):
    """`z = top-k relu(E (x − b) + e)`, `x ≈ zᵀ D + b`."""

    encoder: Float[Tensor, "feature width"]
    offset: Float[Tensor, " feature"]  # e
    decoder: Float[Tensor, "feature width"]
    centre: Float[Tensor, " width"]  # b

    def activations(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch feature"]:
        """Activations before the selection."""
        return torch.relu((x - self.centre) @ self.encoder.mT + self.offset)

    def encode(self, x: Float[Tensor, "*batch width"], k: int) -> Float[Tensor, "*batch feature"]:
        """The k greatest activations of each row, the others zero."""
        return top_k(self.activations(x), k)

    def decode(self, z: Float[Tensor, "*batch feature"]) -> Float[Tensor, "*batch width"]:
        """What the features stand for."""
        return z @ self.decoder + self.centre


def top_k(z: Float[Tensor, "*batch feature"], k: int) -> Float[Tensor, "*batch feature"]:
    """All but the k greatest values of each row set to zero."""
    kept = z.topk(min(k, z.shape[-1]), -1)
    return torch.zeros_like(z).scatter(-1, kept.indices, kept.values)


def batch_top_k(z: Float[Tensor, "row feature"], k: int) -> Float[Tensor, "row feature"]:
    """All but the k · rows greatest values of the whole batch set to zero."""
    return top_k(z.flatten()[None], k * len(z)).view_as(z)


def train(
    rows: Float[Tensor, "row width"], expansion: int, k: int, epochs: int, seed: int, *, lr: float, batch_size: int
) -> Autoencoder:
    """An autoencoder of `rows` with expansion · width features. Loss: squared error over the rows' variance, with the
    selection over the batch; the decoder's rows keep length one."""
    width = rows.shape[1]
    first = torch.Generator().manual_seed(seed)
    encoder = (torch.rand(expansion * width, width, generator=first) * 2 - 1) / width**0.5
    model = Autoencoder(
        *(
            part.to(rows.device).requires_grad_(True)
            for part in (
                encoder, torch.zeros(len(encoder)), encoder / encoder.norm(dim=1, keepdim=True), torch.zeros(width),
            )
        )
    )  # fmt: skip
    optimiser = torch.optim.Adam(model, lr=lr)
    for epoch in range(epochs):
        order = torch.from_numpy(generator(seed, "data", epoch).permutation(len(rows)).astype(np.int64))
        for start in range(0, len(rows), batch_size):
            x = rows[order[start : start + batch_size].to(rows.device)]
            with torch.enable_grad():
                error = (model.decode(batch_top_k(model.activations(x), k)) - x).square().sum()
                loss = error / (x - x.mean(0)).square().sum().clamp_min(1e-12)
                optimiser.zero_grad()
                loss.backward()
            optimiser.step()
            with torch.no_grad():
                model.decoder.div_(model.decoder.norm(dim=1, keepdim=True).clamp_min(1e-12))
    return Autoencoder(*(part.detach() for part in model))
