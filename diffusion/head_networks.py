"""Networks that name style and object of a picture: a small one for mini data, timm networks, the published pair."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mmunlearn.errors import UserError, near_miss

PUBLISHED = "vit_large_patch16_224.augreg_in21k"  # the backbone of UnlearnCanvas's classifiers


def normalised(pictures: UInt8[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
    """Pixels as all heads see them: Normalize(0.5, 0.5) of 0..1 (diffusion 1.3)."""
    return pictures.float().div_(127.5).sub_(1.0)


class SmallTrunk(nn.Module):
    """Six convolutions with batch normalisation; 320 features: the mean and the largest value of each channel."""

    width = 320

    def __init__(self) -> None:
        super().__init__()
        plan = ((3, 32, 1), (32, 48, 2), (48, 64, 1), (64, 112, 2), (112, 160, 2), (160, 160, 1))
        self.body = nn.Sequential(*(_block(*sizes) for sizes in plan))

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n width"]:
        """Features of normalised pictures."""
        maps = self.body(x)
        return torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], dim=1)


def _block(inside: int, outside: int, stride: int) -> nn.Module:
    convolution = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outside), nn.ReLU(inplace=True))


class TwoHeads(nn.Module):
    """One trunk, a linear head for style and one for object: both answers from one pass."""

    def __init__(self, trunk: nn.Module, width: int, styles: int, objects: int):
        super().__init__()
        self.trunk = trunk
        self.style, self.object = nn.Linear(width, styles), nn.Linear(width, objects)

    def features(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n width"]:
        """What the heads read."""
        return self.trunk(x)

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> tuple[Tensor, Tensor, Tensor]:
        """Style logits, object logits, features."""
        features = self.trunk(x)
        return self.style(features), self.object(features), features


def folded(network: nn.Module) -> nn.Module:
    """A copy for answers, in evaluation mode, with batch normalisations folded into the convolutions before them.

    Equal outputs to float rounding. The network itself where nothing can be folded.
    """
    if not any(isinstance(module, nn.BatchNorm2d) for module in network.modules()):
        return network
    network = copy.deepcopy(network).eval()
    for part in [module for module in network.modules() if isinstance(module, nn.Sequential)]:
        for place in range(len(part) - 1):
            convolution, norm = part[place], part[place + 1]
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                part[place], part[place + 1] = fuse_conv_bn_eval(convolution, norm), nn.Identity()
    return network


class HeadPair(nn.Module):
    """Two whole networks, as UnlearnCanvas publishes them; its features are the style network's."""

    def __init__(self, style: nn.Module, thing: nn.Module):
        super().__init__()
        self.style, self.object = style, thing

    def features(self, x: Float[Tensor, "n 3 h w"]) -> Tensor:
        """The style network's features before its head."""
        return self.style.forward_head(self.style.forward_features(x), pre_logits=True)  # type: ignore[operator]

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> tuple[Tensor, Tensor, Tensor]:
        """Style logits, object logits, features."""
        features = self.features(x)
        return self.style.head(features), self.object(x), features  # type: ignore[operator]


def two_heads(network: str, styles: int, objects: int) -> nn.Module:
    """A network with both heads, newly initialised from torch's global generator: "mini" or "timm/<name>"."""
    if network == "mini":
        return TwoHeads(SmallTrunk(), SmallTrunk.width, styles, objects)
    trunk = timm_network(network.removeprefix("timm/"), 0)
    return TwoHeads(trunk, int(trunk.num_features), styles, objects)  # type: ignore[arg-type]


def timm_network(name: str, outputs: int) -> Any:
    """A timm network without pretrained weights (0 outputs: its features). Raises UserError for an unknown name."""
    import timm

    if not timm.is_model(name):
        raise UserError(f"heads: timm has no network {name!r}. {near_miss(name, timm.list_models())}")
    return timm.create_model(name, pretrained=False, num_classes=outputs)


def input_px(network: str) -> int:
    """Side of the pictures that a timm network was made for."""
    import timm

    config = timm.get_pretrained_cfg(network.removeprefix("timm/"))
    return int(config.input_size[-1]) if config is not None else 224


def outputs_of(weights: Mapping[str, Tensor], key: str = "head.weight") -> int:
    """Number of classes of a stored head; 0 where there is none."""
    return int(weights[key].shape[0]) if key in weights else 0
