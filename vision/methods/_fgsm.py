"""One-step adversarial pictures in 0..1, used to find the class on the other side of the nearest boundary."""

import torch
from jaxtyping import Float
from torch import Tensor

from mmunlearn.handle import Batch

from ..handle import VisionHandle


def fgsm(
    handle: VisionHandle, inputs: Float[Tensor, "batch 3 height width"], batch: Batch, bound: float, *, rounded: bool
) -> Float[Tensor, "batch 3 height width"]:
    """`inputs + bound·sign(∇ nll)`, clipped to 0..1 and, if `rounded`, to multiples of 1/255.

    The module must be in evaluation mode, so that each picture's result depends on itself alone. bound: in 0..1 pixels.
    """
    with torch.enable_grad():
        moving = inputs.detach().clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(handle.score_inputs(moving, batch).nll.sum(), moving)
    moved = (inputs.detach() + bound * gradient.sign()).clamp(0, 1)
    return torch.round(moved * 255) / 255 if rounded else moved
