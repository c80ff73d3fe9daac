"""A batch of prompts with places whose embeddings are free, and the denoising error of a model that reads them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mmunlearn.errors import UserError

from .conditioning import Condition, Tokens
from .guard import Guard
from .handle import DiffusionHandle
from .prompt_tokens import Coded, clip_encoders, rows_of, table_of

Criterion = Literal["l2", "l1"]
Error = Literal["noise", "prediction"]


class PromptBatch:
    """Prompts whose embeddings at `Coded.at` are free, equally many in each. Free vectors of models with two CLIP
    encoders, which share their vocabulary, are those of both beside each other."""

    def __init__(self, model: DiffusionHandle, prompts: Sequence[Coded]):
        self.model, self.prompts = model, list(prompts)
        self.encoders = clip_encoders(model)
        tables = [table_of(model, encoder).detach() for encoder in self.encoders]
        if not tables or len({len(table) for table in tables}) > 1:
            raise UserError("free words in prompts need CLIP text encoders with one vocabulary; this model has none.")
        self.widths = [table.shape[1] for table in tables]
        self.table: Float[Tensor, "word width"] = _at_least_single(torch.cat(tables, 1))
        self.tokens: Tokens = rows_of(model, [coded.ids for coded in prompts], [coded.plain for coded in prompts])
        self.at: Int[Tensor, "batch k"] = 1 + torch.tensor([coded.at for coded in prompts])

    def index(self, rows: Sequence[int]) -> "PromptBatch":
        """Chosen prompts."""
        return PromptBatch(self.model, [self.prompts[i] for i in rows])

    def condition(self, free: Float[Tensor, "batch k width"]) -> Condition:
        """Condition of the prompts with `free` at their places, with its graph."""
        given: list[Tensor | None] = [None] * len(self.model.parts.encoders)
        for encoder, own in zip(self.encoders, free.split(self.widths, -1), strict=True):
            words = table_of(self.model, encoder).detach()[self.tokens.ids[encoder].to(self.model.device)]
            at = self.at.to(words.device)[..., None].expand(-1, -1, words.shape[-1])
            given[encoder] = words.scatter(1, at, own.to(words))
        return self.model.encode_tokens(self.tokens, given)


def predicted_noise(
    model: DiffusionHandle, x: Tensor, t: Tensor, condition: Condition, texts: Sequence[str]
) -> Float[Tensor, "batch channel height width"]:
    """The model's raw prediction. A guard that changes activations takes part, in the batch that the sampler would
    make; one that changes the guidance only does not (as SLD in the reference)."""
    guard = model.guard
    if guard is None or type(guard).hooks is Guard.hooks:
        return model.predict(x, t, condition)
    with torch.no_grad():
        empty = model.unconditional([""] * len(x))
    with guard.hooks(model, texts):
        return model.predict(x.repeat(2, 1, 1, 1), t.repeat(2), empty.cat(condition))[len(x) :]


def errors(made: Tensor, aim: Tensor, criterion: Criterion) -> Float[Tensor, " batch"]:
    """Mean error of each row: squared ("l2") or absolute ("l1")."""
    gap = _at_least_single(made) - _at_least_single(aim)
    return (gap.square() if criterion == "l2" else gap.abs()).flatten(1).mean(1)


def _at_least_single(values: Tensor) -> Tensor:
    """Half-precision numbers as single ones."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


@contextmanager
def weights_fixed(*models: DiffusionHandle | None) -> Iterator[None]:
    """Evaluation mode and no graph through weights while open; flags and modes as they were afterwards."""
    modules: list[Any] = [model.module for model in models if model is not None]
    flags = [(p, p.requires_grad) for module in modules for p in module.parameters()]
    modes = [(layer, layer.training) for module in modules for layer in module.modules()]
    try:
        for module in modules:
            module.requires_grad_(False)
            module.eval()
        with torch.enable_grad():
            yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
        for layer, training in modes:
            layer.training = training
