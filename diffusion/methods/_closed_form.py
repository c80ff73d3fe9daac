"""Normal equations that linear maps of one input share, and the maps that read encoded prompts."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmunlearn.errors import UserError

from ..handle import DiffusionHandle

POOLED = "text_embedder.linear_1"  # FLUX: reads the pooled prompt, all other maps the tokens' states


class Equations:
    """Least squares `min Σ s |W' c − v|² + keep |W' − W|²` for many matrices W at once, in float64.

    Its solution is `W' = (keep W + Σ s v cᵀ)(keep I + Σ s c cᵀ)⁻¹` (UCE, equation 7). The right factor has no W in it:
    it is summed and factored once. Where every target is W itself applied to a row g, so is the left one, and the edit
    is one matrix: `W' = W A B⁻¹`.
    """

    def __init__(self, width: int, keep: float, device: torch.device | str = "cpu"):
        self.sources = keep * torch.eye(width, dtype=torch.float64, device=device)  # B
        self.targets = self.sources.clone()  # A
        self._factor: Tensor | None = None

    def move(self, rows: Float[Tensor, "row width"], onto: Float[Tensor, "row width"], scale: float) -> None:
        """Ask that each of `rows` be mapped where W maps the row of `onto` beside it."""
        rows, onto = rows.double(), onto.double()
        self.sources += scale * rows.mT @ rows
        self.targets += scale * onto.mT @ rows
        self._factor = None

    def hold(self, rows: Float[Tensor, "row width"], scale: float) -> None:
        """Ask that each of `rows` be mapped where W maps it."""
        rows = rows.double()
        gram = scale * rows.mT @ rows
        self.sources += gram
        self.targets += gram
        self._factor = None

    def divide(self, numerator: Float[Tensor, "out width"]) -> Float[Tensor, "out width"]:
        """`numerator B⁻¹`, by Cholesky. Raises UserError where B is singular (keep is zero and rows are few)."""
        if self._factor is None:
            self._factor, wrong = torch.linalg.cholesky_ex(self.sources)
            if wrong.any():
                raise UserError("the closed form has no unique solution. Raise the weight that keeps what is there.")
        return torch.cholesky_solve(numerator.double().mT, self._factor).mT

    def matrix(self) -> Float[Tensor, "width width"]:
        """A B⁻¹, the whole edit where all targets are W's own."""
        return self.divide(self.targets)


def editable(handle: DiffusionHandle) -> dict[str, list[tuple[str, nn.Linear]]]:
    """The handle's context layers by what they read: "states" (a row a token) or "pooled" (one row a prompt).

    Layers of one entry share the input's width.
    """
    found: dict[str, list[tuple[str, nn.Linear]]] = {}
    for name, layer in handle.context_layers():
        found.setdefault("pooled" if name.endswith(POOLED) else "states", []).append((name, layer))
    return found


@torch.no_grad()
def multiply(layers: Mapping[str, nn.Linear], matrix: Float[Tensor, "width width"]) -> None:
    """Every weight W becomes `W matrix`, in place."""
    for layer in layers.values():
        layer.weight.copy_(layer.weight.double() @ matrix)
