"""Shrink every weight by one factor: forgets everything alike."""

import torch

from mmunlearn.methods.base import EditMethod


class ShrinkAll(EditMethod):
    """Multiply every parameter by `factor`."""

    stochastic = False
    paper = "none"

    class Config(EditMethod.Config):
        """factor: 1 leaves the model as it is."""

        factor: float = 0.9

    @torch.no_grad()
    def edit(self, handle, data, run) -> None:
        """Shrink in place."""
        for parameter in handle.module.parameters():
            parameter.mul_(self.config.factor)
