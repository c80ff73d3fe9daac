"""What the forward passes of one optimiser step add up to."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

Combine = Callable[[Mapping[str, list[Tensor]]], list[Tensor]]


class StepSums:
    """Values, counts and gradients of a step's terms.

    Terms that divide by a stream's count share one gradient (group ""); a term with a count of its own, and every term
    of a phase that combines gradients, has its own.
    """

    def __init__(self, parameters: list[nn.Parameter]):
        self.parameters = parameters
        self.values: dict[str, Tensor] = {}
        self.counts: dict[str, Tensor] = {}
        self.groups: dict[str, list[Tensor | None]] = {}

    def note(self, name: str, loss: Tensor, count: Tensor | None) -> None:
        """Add a term's value and, where it has one, its own count."""
        value = loss.detach().to(torch.float64)
        self.values[name] = self.values[name] + value if name in self.values else value
        if count is not None:
            own = count.detach().to(torch.float64)
            self.counts[name] = self.counts[name] + own if name in self.counts else own

    def backward(self, losses: Mapping[str, Tensor]) -> None:
        """Add each group's gradient; the graph is freed by the last one."""
        for left, (group, loss) in zip(reversed(range(len(losses))), losses.items(), strict=True):
            before = self.groups.get(group, [None] * len(self.parameters))
            for parameter, gradient in zip(self.parameters, before, strict=True):
                parameter.grad = gradient
            if loss.requires_grad:
                loss.backward(retain_graph=left > 0)
            self.groups[group] = [parameter.grad for parameter in self.parameters]

    def gradients(self, combine: Combine | None) -> list[Tensor | None]:
        """The step's gradient. Own counts divide here; unused parameters have None (zeros where terms are combined)."""
        for name, count in self.counts.items():
            whole = count.clamp(min=1.0)
            self.values[name] = self.values[name] / whole
            self.groups[name] = [None if g is None else g / whole.to(g.dtype) for g in self.groups[name]]
        if combine is not None:
            dense = {
                name: [torch.zeros_like(p) if g is None else g for p, g in zip(self.parameters, group, strict=True)]
                for name, group in self.groups.items()
            }
            return list(combine(dense))
        columns = zip(*self.groups.values(), strict=True) if self.groups else [()] * len(self.parameters)
        present = [[g for g in column if g is not None] for column in columns]
        return [sum(column[1:], start=column[0]) if column else None for column in present]
