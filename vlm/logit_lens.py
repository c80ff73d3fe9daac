"""Logit lens: what every layer would answer if it were the last (one reader for attacks, defences and probes).

The states of the position that predicts the answer are gathered first, all layers of all records, then one matrix
product with the head reads them; everything in 32-bit floats. State l is the output of block l (state 0: the
embeddings); the last state of transformers' models has been through the final norm already, so it is read as it is.
Facts: vlm_unlok_offside_med 1.5 (U2: the reference norms the last state twice) and 7.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmunlearn.data import Example
from mmunlearn.errors import UserError
from mmunlearn.token_stats import LogitForm

from . import single_edits
from .features import model_inputs
from .response_rows import parts
from .single_edits import Edits

if TYPE_CHECKING:
    from .handle import VlmHandle


def decoder(handle: "VlmHandle") -> nn.Module:
    """The decoder: the part of the language model that holds `layers` and the final `norm`. Raises UserError for a
    model whose parts are called otherwise."""
    part: Any = handle.family.language(handle.model)
    for candidate in (part, getattr(part, "model", None), getattr(part, "decoder", None)):
        if isinstance(getattr(candidate, "layers", None), nn.ModuleList) and isinstance(
            getattr(candidate, "norm", None), nn.Module
        ):
            assert candidate is not None
            return candidate
    kind = handle.model.config.model_type
    raise UserError(f"logit lens: a {kind!r} model shows no decoder with `layers` and `norm`. Use another attack.")


def blocks(handle: "VlmHandle") -> nn.ModuleList:
    """The decoder's blocks in order."""
    found: Any = decoder(handle).layers
    return found


@contextmanager
def exit_after(handle: "VlmHandle", state: int) -> Iterator[None]:
    """While open, the model answers from state `state` (1…L−1) through its final norm: later blocks are left out."""
    part: Any = decoder(handle)
    whole = part.layers
    part.layers = whole[:state]
    try:
        yield
    finally:
        part.layers = whole


def states(
    handle: "VlmHandle",
    examples: Sequence[Example],
    *,
    batch_size: int = 64,
    extra: Edits | None = None,
    prompts: Sequence[tuple[int, ...]] | None = None,
) -> Float[Tensor, "record state width"]:
    """States 0…L of every example's last prompt position, the last one after the final norm; all layers in one forward
    pass a batch. Edits that the handle carries are in place, and `extra` on top of them. prompts: the caller's token
    ids in place of the examples' own."""
    kept = torch.empty(0)
    prompts = prompts if prompts is not None else [handle.prompt_ids(example) for example in examples]
    order = sorted(range(len(examples)), key=lambda i: (examples[i].image is None, len(prompts[i])))
    with torch.no_grad(), evaluating(handle.module):
        for part in parts(handle, order, examples, batch_size):
            chosen = [examples[i] for i in part]
            tensors = handle.prompts(chosen, [(prompts[i], len(prompts[i])) for i in part])
            found: list[Tensor] = []
            with ExitStack() as stack:
                stack.enter_context(handle.serving(tensors))
                if extra is not None:
                    rows = extra.rows(chosen).to(handle.device)
                    stack.enter_context(single_edits.applied(handle.model, extra, rows))
                stack.enter_context(_listening(blocks(handle), found))
                last = handle.model.model(**model_inputs(tensors), use_cache=False, return_dict=True).last_hidden_state
            stacked = torch.stack([*found, last[:, -1]], dim=1).float()
            if not len(kept):
                kept = stacked.new_empty(len(examples), *stacked.shape[1:])
            kept[torch.tensor(part, device=kept.device)] = stacked
    return kept


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """While open, no layer drops anything out."""
    modes = [(layer, layer.training) for layer in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for layer, training in modes:
            layer.training = training


@contextmanager
def _listening(layers: nn.ModuleList, found: list[Tensor]) -> Iterator[None]:
    """While open, each block's input at the last position is appended to `found`: states 0…L−1."""

    def take(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        hidden = args[0] if args else kwargs["hidden_states"]
        found.append(hidden[:, -1])

    taken = [layer.register_forward_pre_hook(take, with_kwargs=True) for layer in layers]
    try:
        yield
    finally:
        for one in taken:
            one.remove()


def chosen_layers(wanted: Sequence[int], count: int, usual: int) -> list[int]:
    """State numbers: those wanted, or the last `usual` of the `count` states where none are named. Raises UserError for
    a state that the model has not."""
    if not wanted:
        return list(range(max(0, count - usual), count))
    wrong = [layer for layer in wanted if not 0 <= layer < count]
    if wrong:
        raise UserError(f"layers: the model has states 0 to {count - 1}, not {wrong[0]}. Name others, or none.")
    return list(wanted)


def read(
    handle: "VlmHandle",
    found: Float[Tensor, "record state width"],
    *,
    layers: Sequence[int] | None = None,
    legacy_double_norm: bool = False,
    half: bool = False,
) -> Float[Tensor, "record layer vocab"]:
    """Log-probabilities of the next token at the chosen states (all by default) of what `states` gave.

    legacy_double_norm: norm the last state again, as the reference does. half: compute in 16-bit floats and give
    their values, as the reference does.
    """
    count = found.shape[1]
    chosen = list(range(count)) if layers is None else list(layers)
    picked = found[:, chosen]
    again = torch.tensor([legacy_double_norm or layer != count - 1 for layer in chosen], device=found.device)
    return lens(handle, picked, again, half=half)


def lens(
    handle: "VlmHandle",
    picked: Float[Tensor, "record layer width"],
    normed: Tensor,
    *,
    half: bool = False,
) -> Float[Tensor, "record layer vocab"]:
    """Log-probabilities of any states; differentiable. normed: (layer,) which of them go through the final norm."""
    norm: Any = decoder(handle).norm
    picked = picked.float()
    x = torch.where(normed[:, None], norm(picked).float(), picked)
    weight, bias = handle.head()
    form: LogitForm = handle.form
    if half:
        logits = nn.functional.linear(x.half().float(), weight.half().float(), bias).half().float()
        return form.apply_(logits).softmax(-1).half().float().log()
    logits = nn.functional.linear(x, weight.float(), None if bias is None else bias.float())
    if form.scale != 1.0 or form.softcap is not None:
        logits = form.apply_(logits.clone())
    return logits.log_softmax(-1)
