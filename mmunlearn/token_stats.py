"""Fused token statistics: hidden states at label positions -> lm head in chunks of rows -> what every reader needs.

One pass gives the log-probability (differentiable), rank, entropy term and variance of each supervised token. Losses,
text metrics and membership scores all read this record, so the [tokens, vocabulary] logits never exist for more than
one chunk of rows (objectives_and_seeds 2, "record computed by one fused pass").
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

CHUNK_BYTES = 1 << 26  # logits of one chunk of rows in the working precision


class TokenStats(NamedTuple):
    """What the model says about each of N target tokens; only `logprob` carries a graph.

    logprob: log p(target) in nats. rank: tokens strictly likelier than the target (0 = argmax, ties favour the target).
    mu: Σ_v p log p, minus the entropy in nats. var: Σ_v p log² p − mu², nats² (Min-K++ is (logprob − mu)/√var).
    """

    logprob: Float[Tensor, " tokens"]
    rank: Int[Tensor, " tokens"]
    mu: Float[Tensor, " tokens"]
    var: Float[Tensor, " tokens"]


@dataclass(frozen=True)
class LogitForm:
    """What a model does to `hidden @ weight.T + bias` before the softmax: times `scale`, then `cap·tanh(z/cap)`."""

    scale: float = 1.0
    softcap: float | None = None

    def apply_(self, logits: Tensor) -> Tensor:
        """The form laid over `logits` in place."""
        if self.scale != 1.0:
            logits.mul_(self.scale)
        return logits if self.softcap is None else logits.div_(self.softcap).tanh_().mul_(self.softcap)

    def slope(self, logits: Tensor) -> Tensor | float:
        """Derivative of the form at its own output `logits`: a number, or a matrix where there is a soft cap."""
        if self.softcap is None:
            return self.scale
        return (logits / self.softcap).square_().neg_().add_(1).mul_(self.scale)


PLAIN = LogitForm()


def token_stats(
    hidden: Float[Tensor, "tokens width"],
    weight: Float[Tensor, "vocab width"],
    targets: Int[Tensor, " tokens"],
    bias: Float[Tensor, " vocab"] | None = None,
    *,
    form: LogitForm = PLAIN,
    chunk: int | None = None,
) -> TokenStats:
    """Statistics of `targets` (token ids, all supervised) under `softmax(form(hidden @ weight.T + bias))`.

    hidden: last hidden states at the positions that predict the targets. Softmax and sums run in float32 (float64 for
    float64 input) whatever the inputs' precision; logits are products in the inputs' (or autocast's) precision.
    Gradients flow to hidden, weight and bias through `logprob`, once (no second derivative). `chunk`: rows whose logits
    exist at the same time; None takes as many as fit CHUNK_BYTES.
    """
    logprob, rank, mu, var = _run(hidden, weight, targets, bias, (form, chunk, True))
    return TokenStats(logprob, rank, mu, var)


def token_logprobs(
    hidden: Float[Tensor, "tokens width"],
    weight: Float[Tensor, "vocab width"],
    targets: Int[Tensor, " tokens"],
    bias: Float[Tensor, " vocab"] | None = None,
    *,
    form: LogitForm = PLAIN,
    chunk: int | None = None,
) -> Float[Tensor, " tokens"]:
    """`token_stats(...).logprob` alone, for training steps: the passes for rank and moments are left out."""
    return _run(hidden, weight, targets, bias, (form, chunk, False))[0]


def chunk_rows(vocab: int, dtype: torch.dtype) -> int:
    """Rows of logits over `vocab` tokens that fit CHUNK_BYTES in the working precision of `dtype`; at least 1."""
    return max(1, CHUNK_BYTES // (vocab * working(dtype).itemsize))


def working(dtype: torch.dtype) -> torch.dtype:
    """The precision of softmax and sums: float32, or float64 for float64."""
    return torch.promote_types(dtype, torch.float32)


def head_precision(hidden: Tensor, weight: Tensor) -> torch.dtype:
    """The precision of the head's product: autocast's where it is on, else what both inputs promote to."""
    kind = hidden.device.type
    if torch.is_autocast_enabled(kind) and hidden.dtype != torch.float64:
        return torch.get_autocast_dtype(kind)
    return torch.promote_types(hidden.dtype, weight.dtype)


def logits_of(
    hidden: Float[Tensor, "rows width"],
    weight: Float[Tensor, "vocab width"],
    bias: Float[Tensor, " vocab"] | None,
    form: LogitForm,
) -> Float[Tensor, "rows vocab"]:
    """Logits of some rows in the working precision, in a buffer of their own; inputs share one precision."""
    product = functional.linear(hidden, weight, bias)
    return form.apply_(product.to(working(product.dtype)))


def _run(hidden: Tensor, weight: Tensor, targets: Tensor, bias: Tensor | None, plan: tuple):
    precision = head_precision(hidden, weight)
    given = (hidden.to(precision), weight.to(precision), None if bias is None else bias.to(precision))
    with torch.autocast(hidden.device.type, enabled=False):
        return _TokenStats.apply(given[0], given[1], given[2], targets, (*plan, torch.is_grad_enabled()))


class _TokenStats(torch.autograd.Function):
    """Forward stores the gradient of each row's log-probability with respect to its own hidden state.

    That is one vector of the hidden size a token, so backward to the hidden states is one multiplication. Only a
    trainable head needs the softmax again: its slope is kept where everything was one chunk, else computed anew.
    """

    @staticmethod
    def forward(ctx, hidden, weight, bias, targets, plan):
        form, chunk, detail, graph = plan
        rows = chunk or chunk_rows(len(weight), hidden.dtype)
        to_hidden = graph and ctx.needs_input_grad[0]
        to_head = graph and any(ctx.needs_input_grad[1:3])
        logprob, mu, var = (hidden.new_empty(len(hidden), dtype=working(hidden.dtype)) for _ in range(3))
        rank = targets.new_empty(len(hidden) if detail else 0)
        unit, slope = (torch.empty_like(hidden) if to_hidden else None), None
        for start in range(0, len(hidden), rows):
            part = slice(start, start + rows)
            z = logits_of(hidden[part], weight, bias, form)
            at = z.gather(1, targets[part, None])
            lse = z.logsumexp(1, keepdim=True)
            logprob[part] = (at - lse)[:, 0]
            if detail:
                rank[part] = (z > at).sum(1)
            bend = form.slope(z) if to_hidden or to_head else None
            if not detail and bend is None:
                continue
            logp = z.sub_(lse)
            p = logp.exp()
            if detail:
                mu[part] = torch.linalg.vecdot(p, logp)
                var[part] = torch.linalg.vecdot(p, logp.sub_(mu[part, None]).square_())
            if bend is None:
                continue
            slope = _slope(p, targets[part], bend)
            if unit is not None:
                torch.mm(slope.to(weight.dtype), weight, out=unit[part])
        ctx.form, ctx.rows = form, rows
        keep = slope if to_head and len(hidden) <= rows else None
        head = (hidden, weight, bias, targets) if to_head else (None,) * 4
        ctx.save_for_backward(unit, keep, *head)
        ctx.mark_non_differentiable(rank, mu, var)
        return logprob, rank, mu, var

    @staticmethod
    @once_differentiable
    def backward(ctx, grad, *_):
        unit, kept, hidden, weight, bias, targets = ctx.saved_tensors
        to_hidden = None if unit is None else unit * grad[:, None].to(unit.dtype)
        if hidden is None:
            return to_hidden, None, None, None, None
        to_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        to_bias = torch.zeros_like(bias) if bias is not None and ctx.needs_input_grad[2] else None
        for start in range(0, len(hidden), ctx.rows):
            part = slice(start, start + ctx.rows)
            slope = kept if kept is not None else _again(hidden[part], weight, bias, targets[part], ctx.form)
            pull = slope * grad[part, None]
            if to_weight is not None:
                to_weight.addmm_(pull.to(weight.dtype).T, hidden[part])
            if to_bias is not None:
                to_bias += pull.sum(0).to(bias.dtype)
        return to_hidden, to_weight, to_bias, None, None


def _slope(p: Tensor, targets: Tensor, bend: Tensor | float) -> Tensor:
    """Derivative of log p(target) with respect to the head's product, written over the probabilities `p`."""
    slope = p.neg_().scatter_add_(1, targets[:, None], torch.ones_like(p[:, :1]))
    return slope if isinstance(bend, float) and bend == 1.0 else slope.mul_(bend)


def _again(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, form: LogitForm) -> Tensor:
    z = logits_of(hidden, weight, bias, form)
    bend = form.slope(z)
    return _slope(z.sub_(z.logsumexp(1, keepdim=True)).exp_(), targets, bend)
