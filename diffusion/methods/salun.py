"""SalUn for diffusion: relabel the concept, on the weights alone that matter most for it."""

from collections.abc import Mapping, Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from mmunlearn.data import Split
from mmunlearn.handle import Batch
from mmunlearn.methods.base import GradientMethod, Need, Optimiser, Phase, Step, Term
from mmunlearn.methods.saliency import top_fraction

from ..handle import DiffusionHandle
from ._pseudo_label import forget_batches, guided_loss, relabel_loss, relabel_streams
from ._trained import Role, trained_names


class Salun(GradientMethod):
    """Minimise MSE(ε_θ(x_f, c), sg ε_θ(x_f, c')) + α·L_retain on the `fraction` of weights with the largest |Σ ∇L_m|.

    c': the surrogate prompt; L_retain: the ordinary denoising loss; L_m = MSE(ε, (1 + s)·ε_θ(x, c) − s·ε_θ(x, ∅)) with
    s = `mask_guidance`, summed over the forget set. Trained weights are ranked together; others never move.
    Sources: Fan et al. 2024 (arXiv 2310.12508, section 4 and appendix); diffusion sheet 4.5 (OPTML-Group/
    Unlearn-Saliency: top half, guidance 7.5, Adam 1e-5, 5 epochs, batch 8, all weights; UnlearnCanvas: cross-attention,
    α 1, 2 epochs, batch 4). Differs from the paper: nothing. Differs from the repository: one latent serves prediction
    and target (there a second posterior draw), and the mask's gradient is summed over pictures, not over batch means.
    `reference: true` trains as the script behind UnlearnCanvas's row does: its mask, which keeps the least salient
    weights, is never applied, and every step reads the same first batches; equal figures are not to be expected.
    """

    needs = frozenset({Need.FORGET, Need.RETAIN, "concept"})
    paper = "Fan et al. 2024 (SalUn)"

    toy = {"batch_size": 8, "epochs": 5, "optimiser": {"name": "sgd", "lr": 0.1}}

    class Config(GradientMethod.Config):
        """trains: the group of weights that are ranked and trained. fraction: of them in the mask. retain_weight: α."""

        trains: Role = "denoiser"
        fraction: float = Field(0.5, gt=0, le=1)
        mask_guidance: float = 7.5
        retain_weight: float = 0.5
        optimiser: Optimiser = Optimiser(name="adam", lr=1e-5)
        epochs: int = 5
        batch_size: int = 8
        reference: bool = False

    def prepare(self, handle: DiffusionHandle, data: Mapping[str, Split], run) -> None:  # type: ignore[override]
        """The mask, at the original."""
        self._names = trained_names(handle, self.config.trains)
        self._masks: dict[str, Tensor] = {}
        self._start: dict[str, Tensor] = {}
        if self.config.reference:
            return
        gradient = self._gradient(handle, data["forget"])
        self._masks = top_fraction({name: g.abs() for name, g in gradient.items()}, self.config.fraction)
        if self.config.optimiser.weight_decay:
            self._start = {name: p.detach().clone() for name, p in handle.trainable() if name in self._names}

    def _gradient(self, handle: DiffusionHandle, split: Split) -> dict[str, Tensor]:
        training = handle.module.training
        handle.module.eval()
        chosen = {name: p for name, p in handle.trainable() if name in self._names}
        total = {name: torch.zeros_like(p) for name, p in chosen.items()}
        for batch in forget_batches(handle, split, self.config.batch_size):
            loss = guided_loss(handle, batch, self.config.mask_guidance)
            made = torch.autograd.grad(loss, list(chosen.values()), allow_unused=True)
            for sum_, gradient in zip(total.values(), made, strict=True):
                if gradient is not None:
                    sum_ += gradient
        handle.module.train(training)
        return total

    def phases(self, handle, data: Mapping[str, Split], run) -> Sequence[Phase]:
        """One phase; an epoch is a pass over the forget set."""
        streams, steps = relabel_streams(self, data, first_batch=self.config.reference)
        return [
            self.simple_phase(
                self._terms, streams, "forget", steps=steps, trainable=self._names,
                adjust=self._mask, after_step=self._restore,
            )
        ]  # fmt: skip

    def _terms(self, handle: DiffusionHandle, batches: Mapping[str, Batch], step: Step) -> dict[str, Term]:
        return {
            "relabel": Term(relabel_loss(handle, batches["forget"]), "forget"),
            "retain": Term(handle.score(batches["retain"]).nll.sum(), "retain", self.config.retain_weight),
        }

    @torch.no_grad()
    def _mask(self, parameters: Mapping[str, nn.Parameter], step: Step) -> None:
        for name, parameter in parameters.items():
            if parameter.grad is not None and name in self._masks:
                parameter.grad.mul_(self._on(self._masks, name, parameter))

    @torch.no_grad()
    def _restore(self, handle: DiffusionHandle, step: Step) -> None:
        """Weight decay does not move masked weights either."""
        for name, parameter in handle.trainable():
            if name in self._start:
                keep = self._on(self._masks, name, parameter)
                parameter.copy_(torch.where(keep, parameter, self._on(self._start, name, parameter)))

    @staticmethod
    def _on(table: dict[str, Tensor], name: str, parameter: Tensor) -> Tensor:
        table[name] = table[name].to(parameter.device)
        return table[name]
