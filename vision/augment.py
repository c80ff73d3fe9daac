"""Training views of a whole batch at once, each picture's draw a pure function of (seed, example, epoch)."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from mmunlearn.handle import View
from mmunlearn.seeds import derive, uniforms
from mmunlearn.settings import Settings


class Augmentation(Settings):
    """The benchmark's training transform (vision.md 1.2): flip, shear and scale, colour jitter.

    shear_degrees, scale_frac, brightness, contrast, saturation: half-widths of uniform ranges around "unchanged";
    shift_frac: translation (0 in the benchmark). Zero switches a part off.
    """

    flip: bool = True
    shear_degrees: float = 10.0
    scale_frac: float = 0.2
    shift_frac: float = 0.0
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2


def draws(keys: np.ndarray, view: View) -> np.ndarray:
    """(batch, 8) uniform numbers: which row depends on the example's key and its own epoch only."""
    result = np.empty((len(keys), 8))
    for epoch in np.unique(view.epochs):
        here = view.epochs == epoch
        result[here] = uniforms(keys[here], derive(view.seed, "augment", int(epoch)), 8)
    return result


def augment(
    images: Float[Tensor, "batch 3 height width"], numbers: np.ndarray, how: Augmentation
) -> Float[Tensor, "batch 3 height width"]:
    """Apply the draws `numbers` (batch, 8) to float images in 0..1."""
    u = torch.as_tensor(2 * numbers - 1, dtype=images.dtype, device=images.device)
    if how.shear_degrees or how.scale_frac or how.shift_frac or how.flip:
        images = _affine(images, u, how)
    # The order is fixed (torchvision shuffles it); each factor is drawn as torchvision draws it.
    if how.brightness:
        images = images * (1 + how.brightness * u[:, 4, None, None, None])
    images = images.clamp(0, 1)  # a tensor of our own, so the rest may work in place
    if how.contrast:
        _from(images, _grey(images).mean((1, 2, 3), keepdim=True), 1 + how.contrast * u[:, 5, None, None, None])
    if how.saturation:
        _from(images, _grey(images), 1 + how.saturation * u[:, 6, None, None, None])
    return images


def _from(images: Tensor, centre: Tensor, factor: Tensor) -> None:
    """Scale the distance from `centre` by `factor`, in place (each operation saved is a pass over the batch)."""
    images.sub_(centre).mul_(factor).add_(centre).clamp_(0, 1)


def _grey(images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 1 height width"]:
    weights = images.new_tensor([0.299, 0.587, 0.114])  # ITU-R BT.601, as torchvision's rgb_to_grayscale
    return (images * weights[:, None, None]).sum(1, keepdim=True)


def _affine(images: Tensor, u: Tensor, how: Augmentation) -> Tensor:
    scale = 1 / (1 + how.scale_frac * u[:, 0])
    shear = torch.tan(torch.deg2rad(how.shear_degrees * u[:, 1]))
    flip = (
        torch.where(u[:, 2] < 0, -torch.ones_like(scale), torch.ones_like(scale))
        if how.flip
        else torch.ones_like(scale)
    )
    theta = images.new_zeros(len(images), 2, 3)
    theta[:, 0, 0] = scale * flip
    theta[:, 0, 1] = scale * shear
    theta[:, 1, 1] = scale
    theta[:, 0, 2] = 2 * how.shift_frac * u[:, 3]
    theta[:, 1, 2] = 2 * how.shift_frac * u[:, 7]
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
