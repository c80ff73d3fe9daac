"""Pictures and latents: VAE moments made once a picture, and a stand-in for a VAE that rearranges pixels."""

import hashlib
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from mmunlearn.data import ImageRef
from mmunlearn.handle import weights_digest

ENCODED_AT_ONCE = 8


class Moments(NamedTuple):
    """Mean and standard deviation of the VAE's posterior, in the denoiser's scale."""

    mean: Float[Tensor, "batch channel height width"]
    std: Float[Tensor, "batch channel height width"]


# Orthonormal Haar basis of a cell's four pixels: their mean (doubled), and differences across, down and crosswise.
_HAAR = torch.tensor([[1.0, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2


class Unshuffle(nn.Module):
    """The interface of AutoencoderKL without weights: 2 x 2 pixels of three colours are the twelve channels of a latent
    cell, exactly and both ways.

    detail_gain: the channels of a colour are not its four pixels but their mean and, times this gain, their three
    differences (a Haar transform). Differences are small in pictures: with a gain of about 3 all channels have alike
    spread, as a trained VAE's have, and what a model gets wrong in them shows a third as much.
    """

    def __init__(self, scaling_factor: float = 1.0, detail_gain: float | None = None):
        super().__init__()
        self.config = SimpleNamespace(
            scaling_factor=scaling_factor, shift_factor=None, latent_channels=12, block_out_channels=(1, 1),
            detail_gain=detail_gain,
        )  # fmt: skip

    def encode(self, pixels: Tensor) -> Any:
        """A posterior without spread."""
        mean = functional.pixel_unshuffle(pixels, 2)
        if self.config.detail_gain is not None:
            mean = self._mixed(mean, self._gains(mean)[:, None] * _HAAR.to(mean))
        return SimpleNamespace(latent_dist=SimpleNamespace(mean=mean, std=torch.zeros_like(mean)))

    def decode(self, latents: Tensor, return_dict: bool = False) -> tuple[Tensor]:
        """Pixels in -1..1."""
        if self.config.detail_gain is not None:
            latents = self._mixed(latents, _HAAR.to(latents).mT / self._gains(latents))
        return (functional.pixel_shuffle(latents, 2),)

    def _gains(self, like: Tensor) -> Tensor:
        return torch.tensor([1.0, *[self.config.detail_gain] * 3]).to(like)

    @staticmethod
    def _mixed(cells: Tensor, matrix: Tensor) -> Tensor:
        """Each colour's four channels times `matrix` (4, 4)."""
        return torch.einsum("ij,bcjhw->bcihw", matrix, cells.unflatten(1, (3, 4))).flatten(1, 2)


def pixels_per_cell(vae: Any) -> int:
    """Side of the square of pixels that a latent cell stands for."""
    return 2 ** (len(vae.config.block_out_channels) - 1)


def vae_type(vae: nn.Module) -> torch.dtype:
    """Number type of the weights; float32 where there are none."""
    return next((p.dtype for p in vae.parameters()), torch.float32)


def encode(vae: Any, pictures: UInt8[Tensor, "batch 3 height width"]) -> Moments:
    """Posterior moments of pictures, scaled and shifted for the denoiser."""
    distribution = vae.encode(pictures.to(vae_type(vae)) / 127.5 - 1).latent_dist
    scale, shift = vae.config.scaling_factor, getattr(vae.config, "shift_factor", None) or 0.0
    return Moments((distribution.mean - shift) * scale, distribution.std * scale)


def decode(vae: Any, latents: Float[Tensor, "batch channel row column"]) -> UInt8[Tensor, "batch 3 height width"]:
    """Pictures of clean latents."""
    shift = getattr(vae.config, "shift_factor", None) or 0.0
    pixels = vae.decode(latents.to(vae_type(vae)) / vae.config.scaling_factor + shift, return_dict=False)[0]
    return ((pixels.float() / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)


def picture(image: ImageRef, size_px: int) -> UInt8[Tensor, "3 height width"]:
    """The centre square of a picture at `size_px` (bicubic where it must be resized)."""
    from PIL import Image

    opened = image.open(draft_px=size_px)
    side = min(opened.size)
    left, top = (opened.width - side) // 2, (opened.height - side) // 2
    opened = opened.crop((left, top, left + side, top + side))
    if side != size_px:
        opened = opened.resize((size_px, size_px), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.asarray(opened, dtype=np.uint8).copy()).permute(2, 0, 1)


def single(tensor: Tensor) -> Tensor:
    """In single precision on the CPU, also inside a run in double precision, where `.float()` gives doubles: the table
    outlives the run."""
    return torch.from_numpy(tensor.detach().cpu().to(torch.float64).numpy().astype(np.float32))


class MomentTable:
    """Moments by picture, size and side; a picture goes through the VAE once a process."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, bool], Moments] = {}

    def get(
        self, images: Sequence[ImageRef], flips: Sequence[bool], encode: Callable[[Tensor], Moments], size_px: int
    ) -> Moments:
        """Moments on the CPU, in the order of `images`; `flips` asks for the mirrored picture."""
        keys = [(image.digest, bool(flip)) for image, flip in zip(images, flips, strict=True)]
        missing = [(key, i) for i, key in enumerate(keys) if key not in self.rows]
        missing = list(dict(missing).items())
        with torch.inference_mode(False), torch.no_grad():
            for start in range(0, len(missing), ENCODED_AT_ONCE):
                part = missing[start : start + ENCODED_AT_ONCE]
                pixels = [picture(images[i], size_px) for _, i in part]
                stack = torch.stack([p.flip(-1) if key[1] else p for p, (key, _) in zip(pixels, part, strict=True)])
                made = encode(stack)
                mean, std = single(made.mean), single(made.std)
                for row, (key, _) in enumerate(part):
                    self.rows[key] = Moments(mean[row].clone(), std[row].clone())
        rows = [self.rows[key] for key in keys]
        return Moments(torch.stack([row.mean for row in rows]), torch.stack([row.std for row in rows]))


_TABLES: dict[tuple[str, int], MomentTable] = {}


def moment_table(vae: Any, size_px: int) -> MomentTable:
    """The process's table for a VAE's weights and a size: originals, copies and splits share it."""
    config = sorted((key, str(value)) for key, value in vars(_plain(vae.config)).items() if not key.startswith("_"))
    text = f"{type(vae).__name__} {config} {weights_digest(vae)}"
    key = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    return _TABLES.setdefault((key, size_px), MomentTable())


def _plain(config: Any) -> SimpleNamespace:
    return config if isinstance(config, SimpleNamespace) else SimpleNamespace(**dict(config))
