"""Fisher forgetting: add noise to every weight in inverse proportion to its importance for the retain set."""

from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from mmunlearn import losses
from mmunlearn.data import Split
from mmunlearn.errors import UserError
from mmunlearn.handle import Handle, Scored
from mmunlearn.methods.base import EditMethod, Need
from mmunlearn.per_sample import accumulate
from mmunlearn.seeds import derive, generator
from mmunlearn.settings import Settings

_MAX_ROWS = 256


class Fisher(EditMethod):
    """`θ ~ N(θ, var)` with `var = alpha · min(1 / (F + 1e-8), cap)`, F the diagonal Fisher information on the retain
    set.

    F = mean over examples of Σ_y p(y|x) (∇ log p(y|x))². cap = 1e3, for the head 1e2; in tensors of two and more
    dimensions the variance is averaged over dimension 1 (input channels); it is ten times as large in the head and in
    one-dimensional tensors. The head is every tensor whose first dimension is the number of outputs. Label vectors: two
    outcomes a label; token answers: every word at every position (at most 256 outcomes an example).
    Source: vision.md 6.8 (alpha 1e-6 in the SSD repository). Norm mode: stored statistics; buffers are untouched.
    `variant`: "per_sample" squares the gradients of single examples (the definition of F); "ssd" is that repository's
    rule, which multiplies by ten only the one-dimensional tensors; "sparse" is the Unlearn-Sparse repository's,
    which squares gradients of batches of 32, weighted with the batch's mean probabilities.
    Differs from the references: all outcomes come from one forward, and all examples of a batch from one backward
    an outcome. The forgotten-class row of Unlearn-Sparse's class forgetting is not offered.
    """

    needs = frozenset({Need.RETAIN, Need.LOGITS})
    paper = "Golatkar, Achille and Soatto 2020, Eternal Sunshine of the Spotless Net"

    toy = {"alpha": 1e-5}

    class Config(Settings):
        """alpha: scale of the variance. samples: number of retain examples that F is estimated on (None: all)."""

        alpha: float = Field(1e-6, ge=0)
        variant: Literal["per_sample", "ssd", "sparse"] = "per_sample"
        samples: int | None = Field(None, gt=0)
        batch_size: int = 64

    def edit(self, handle: Handle, data: Mapping[str, Split], run) -> None:
        """Estimate F and add the noise."""
        c, retain = self.config, data["retain"]
        if c.samples is not None and c.samples < len(retain):
            draw = generator(run.seed, "sample", "fisher").permutation(len(retain))[: c.samples]
            retain = retain.subset(sorted(draw))
        information = _batch_fisher(handle, retain) if c.variant == "sparse" else fisher(handle, retain, c.batch_size)
        outputs = _outputs(handle, retain)
        for name, parameter in handle.trainable():
            var = variance(information[name], outputs, alpha=c.alpha, head_times_ten=c.variant != "ssd")
            noise_source = torch.Generator().manual_seed(derive(run.seed, "noise", "fisher", name))
            noise = torch.randn(parameter.shape, generator=noise_source).to(parameter)
            with torch.no_grad():
                parameter.add_(noise * var.sqrt())


def fisher(handle: Handle, split: Split, batch_size: int) -> dict[str, Tensor]:
    """Mean over examples of Σ_y p(y|x) (∇ log p(y|x))²."""
    total = accumulate(handle, split.examples, outcome_rows, "squared", batch_size=batch_size)
    return {name: value / len(split) for name, value in total.items()}


def outcome_rows(scored: Scored) -> Float[Tensor, "outcome batch"]:
    """√p(y|x) · log p(y|x) of every outcome of every item, the root without gradient: squared gradients of these rows
    add up to the example's Fisher information."""
    log_p = _log_probabilities(scored)
    rows = log_p.detach().exp().sqrt() * log_p
    if scored.mask is not None:
        rows = rows * scored.mask[..., None]
    rows = rows.flatten(1).T
    if len(rows) > _MAX_ROWS:
        raise UserError(f"fisher: {len(rows)} outcomes an example (items times classes), more than {_MAX_ROWS}.")
    return rows


def _log_probabilities(scored: Scored) -> Float[Tensor, "batch item outcome"]:
    logits = losses.need_logits(scored, "fisher")
    if scored.family == "bernoulli":
        return torch.cat([functional.logsigmoid(-logits), functional.logsigmoid(logits)], dim=-1)
    return functional.log_softmax(logits, dim=-1)


def variance(information: Tensor, outputs: int, *, alpha: float, head_times_ten: bool) -> Tensor:
    """Variance of the noise on one parameter tensor."""
    head = information.shape[:1] == (outputs,)
    var = alpha * (1 / (information + 1e-8)).clamp(max=1e2 if head else 1e3)
    if var.dim() > 1:
        var = var.mean(dim=1, keepdim=True).expand_as(information)
    return var * 10 if information.dim() == 1 or (head and head_times_ten) else var


def _outputs(handle: Handle, split: Split) -> int:
    with torch.no_grad():
        logits = losses.need_logits(handle.score(handle.collate(split[:1]).to(handle.device)), "fisher")
    return logits.shape[1] * logits.shape[2] if logits.shape[2] == 1 else logits.shape[2]


def _batch_fisher(handle: Handle, split: Split, batch_size: int = 32) -> dict[str, Tensor]:
    """Mean over batches of Σ_y p̄(y) (∇ mean log p(y))², p̄ the batch's mean probability."""
    names, parameters = zip(*handle.trainable(), strict=True)
    total = [torch.zeros_like(p) for p in parameters]
    for start in range(0, len(split), batch_size):
        log_p = _log_probabilities(handle.score(handle.collate(split[start : start + batch_size]).to(handle.device)))
        log_p = log_p.flatten(1)
        weight = log_p.detach().exp().mean(0)
        for outcome in range(log_p.shape[1]):
            mean = log_p[:, outcome].mean()
            gradients = torch.autograd.grad(mean, parameters, retain_graph=True, allow_unused=True)
            for sum_, gradient in zip(total, gradients, strict=True):
                if gradient is not None:
                    sum_ += weight[outcome] * gradient.square()
    batches = -(-len(split) // batch_size)
    return {name: value / batches for name, value in zip(names, total, strict=True)}
