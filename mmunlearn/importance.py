"""How much each weight matters for a set of examples: sums, squares and absolute values of gradients.

All of it in evaluation mode on evaluation views. `importance` is cached by weights and examples, since the importance
of the whole training set serves every request to forget.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save
from torch import Tensor

from mmunlearn import losses
from mmunlearn.atomic import write_bytes
from mmunlearn.data import Split
from mmunlearn.handle import Handle, Scored, weights_digest
from mmunlearn.order import Order
from mmunlearn.per_sample import Power, accumulate
from mmunlearn.settings import Settings, digest, plain

Loss = Literal["nll", "energy"]
VERSION = 1  # of the numbers below; part of the cache key


def gradient_sum(handle: Handle, split: Split, *, batch_size: int = 64) -> dict[str, Tensor]:
    """Σ over examples of ∇θ nll, by parameter name."""
    return _over_batches(handle, split, batch_size, lambda scored: scored.nll.sum(), lambda g: g)


class Measure(Settings):
    """What is measured: mean over examples (per: sample) or over batches of the gradient, squared or absolute.

    loss: "nll" an item, or "energy" ‖logits‖² (no label needed). per: batch takes the gradient of a batch's mean loss,
    as the SSD repository does: it depends on `batch_size` and on which examples meet in a batch; `shuffle_seed` mixes
    them (None: the split's own order). mean: a batch's loss is the mean over examples of each one's mean over items, or
    over all items (answer tokens) of the batch, as transformers computes it; the same where all have equally many.
    """

    loss: Loss = "nll"
    power: Power = "squared"
    per: Literal["batch", "sample"] = "sample"
    mean: Literal["examples", "items"] = "examples"
    batch_size: int = 64
    shuffle_seed: int | None = None


def importance(handle: Handle, split: Split, what: Measure, *, cache: Path | None = None) -> dict[str, Tensor]:
    """Importance of every trainable parameter for `split`, by name.

    cache: a folder of stored results, keyed by weights, examples and `what`.
    """
    file = None
    if cache is not None:
        measure = what if what.per == "batch" else what.model_copy(update={"batch_size": 0, "shuffle_seed": None})
        names = sorted(name for name, _ in handle.trainable())
        key = digest([VERSION, weights_digest(handle.module), names, split.fingerprint, plain(measure)])
        file = cache / f"{key}.safetensors"
        if file.is_file():
            stored = load_file(file)
            return {name: stored[name].to(p.device) for name, p in handle.trainable()}
    each = per_example(what.loss)
    if what.per == "sample":
        total = accumulate(
            handle, split.examples, lambda scored: each(scored)[None], what.power, batch_size=what.batch_size
        )
        result = {name: value / len(split) for name, value in total.items()}
    else:
        if what.shuffle_seed is not None:
            split = split.subset(Order(len(split), what.shuffle_seed, "importance").epoch(0))
        change = torch.square if what.power == "squared" else torch.abs
        loss = _mean_over_items(each) if what.mean == "items" else lambda scored: each(scored).mean()
        total = _over_batches(handle, split, what.batch_size, loss, change)
        batches = -(-len(split) // what.batch_size)
        result = {name: value / batches for name, value in total.items()}
    if file is not None:
        write_bytes(file, save({name: tensor.cpu().contiguous() for name, tensor in result.items()}))
    return result


def per_example(loss: Loss) -> Callable[[Scored], Float[Tensor, " batch"]]:
    """The loss of each example: nats an item, or the squared length of the logits."""
    return losses.output_energy if loss == "energy" else lambda scored: scored.nll / scored.count


def _mean_over_items(each: Callable[[Scored], Tensor]) -> Callable[[Scored], Tensor]:
    return lambda scored: (each(scored) * scored.count).sum() / scored.count.sum()


def _over_batches(
    handle: Handle,
    split: Split,
    batch_size: int,
    objective: Callable[[Scored], Tensor],
    change: Callable[[Tensor], Tensor],
) -> dict[str, Tensor]:
    training = handle.module.training
    handle.module.eval()
    names, parameters = zip(*handle.trainable(), strict=True)
    total = [torch.zeros_like(p) for p in parameters]
    for start in range(0, len(split), batch_size):
        batch = handle.collate(split[start : start + batch_size]).to(handle.device)
        gradients = torch.autograd.grad(objective(handle.score(batch)), parameters, allow_unused=True)
        for sum_, gradient in zip(total, gradients, strict=True):
            if gradient is not None:
                sum_ += change(gradient)
    handle.module.train(training)
    return dict(zip(names, total, strict=True))
