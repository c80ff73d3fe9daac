"""Inception networks behind the two published flavours of FID; weights come from a local file only.

`unlearncanvas`: torchvision's inception_v3. `standard`: the network of the FID papers (conversion of the 2015
TensorFlow graph), which pools differently. Distances of the two are not comparable, nor are their weights
interchangeable.
"""

from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from mmunlearn.errors import UserError
from mmunlearn.weights_file import load_strictly, read_weights

Flavour = Literal["unlearncanvas", "standard"]
SIDE_PX = 299
WIDTH = 2048
FIRST_PX = 512  # UnlearnCanvas brings every picture to this size before anything else


class UnlearnCanvasInception(nn.Module):
    """Pixels resized as cv2 does (bilinear, no antialiasing), 2x - 1, then torchvision's own transform_input, which
    takes its input for ImageNet-normalised: the double normalisation of the published numbers. Mixed_7c, mean-pooled.

    Source: UnlearnCanvas, evaluation/quantitative/fid.py (diffusion 1.5).
    """

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models import inception_v3

        self.network = inception_v3(weights=None, transform_input=True, init_weights=False)

    def seen(self, pictures: UInt8[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 299 299"]:
        """What the first convolution receives."""
        return self.network._transform_input(resized(pictures.float() / 255, SIDE_PX) * 2 - 1)

    def forward(self, pictures: UInt8[Tensor, "n 3 h w"]) -> Float[Tensor, "n 2048"]:
        """Features of pictures of any size."""
        return pooled_7c(self.network, self.seen(pictures))


class StandardInception(nn.Module):
    """The FID papers' network: average pooling in Mixed_5…7b leaves the border out of its count, and Mixed_7c's pooling
    branch takes the maximum. Pixels resized bilinearly to 299, then 2x - 1.

    Source: the converted weights of pytorch-fid (pt_inception-2015-12-05), whose names of tensors are torchvision's.
    """

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models import inception_v3

        network = inception_v3(weights=None, num_classes=1008, aux_logits=False, init_weights=False)
        for name in ("5b", "5c", "5d", "6b", "6c", "6d", "6e", "7b", "7c"):
            block = getattr(network, f"Mixed_{name}")
            block._forward = _pooling(block, "max" if name == "7c" else "mean")
        self.network = network

    def seen(self, pictures: UInt8[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 299 299"]:
        """What the first convolution receives."""
        return resized(pictures.float() / 255, SIDE_PX) * 2 - 1

    def forward(self, pictures: UInt8[Tensor, "n 3 h w"]) -> Float[Tensor, "n 2048"]:
        """Features of pictures of any size."""
        return pooled_7c(self.network, self.seen(pictures))


def _pooling(block: nn.Module, kind: Literal["mean", "max"]) -> Any:
    """The block's own branches with its 3 × 3 pooling done as the FID network does."""
    own = block._forward

    def pool(x: Tensor, **_: Any) -> Tensor:
        if kind == "max":
            return functional.max_pool2d(x, 3, stride=1, padding=1)
        return functional.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)

    def forward(x: Tensor) -> list[Tensor]:
        from torchvision.models import inception

        kept = inception.F  # the blocks call F.avg_pool2d for this pooling only
        inception.F = _Pooling(kept, pool)
        try:
            return own(x)  # type: ignore[operator]  # torch types a method as a Tensor or Module
        finally:
            inception.F = kept

    return forward


class _Pooling:
    """torch.nn.functional with another avg_pool2d."""

    def __init__(self, functions: Any, pool: Any):
        self._functions, self.avg_pool2d = functions, pool

    def __getattr__(self, name: str) -> Any:
        return getattr(self._functions, name)


def pooled_7c(network: nn.Module, x: Float[Tensor, "n 3 299 299"]) -> Float[Tensor, "n 2048"]:
    """Output of Mixed_7c, averaged over space; the head is not computed."""
    for name in (
        "Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "maxpool1", "Conv2d_3b_1x1", "Conv2d_4a_3x3", "maxpool2",
        "Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e", "Mixed_7a",
        "Mixed_7b", "Mixed_7c",
    ):  # fmt: skip
        x = getattr(network, name)(x)
    return x.mean((2, 3))


def resized(x: Float[Tensor, "n 3 h w"], side_px: int) -> Float[Tensor, "n 3 side side"]:
    """cv2.resize's default: bilinear between pixel centres, without antialiasing."""
    return functional.interpolate(x, (side_px, side_px), mode="bilinear", align_corners=False, antialias=False)


def open_inception(flavour: Flavour, weights: str) -> nn.Module:
    """The flavour's network with weights from a local file. Raises UserError where the file is missing or unfitting."""
    if not weights:
        raise UserError(
            f"fid_{flavour}: needs the network's weights from a local file: set `weights` of the metric, or measure "
            "fid_mini, whose network is trained here."
        )
    network = UnlearnCanvasInception() if flavour == "unlearncanvas" else StandardInception()
    remedy = (
        "Take torchvision's inception_v3 weights." if flavour == "unlearncanvas" else "Take pytorch-fid's weights."
    )
    load_strictly(network.network, read_weights(Path(weights)), weights, remedy)  # type: ignore[arg-type]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return network.to(device).eval().requires_grad_(False)
