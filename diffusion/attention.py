"""Cross-attention layers by name, and their probabilities recorded while the model runs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode


@dataclass(frozen=True)
class CrossAttention:
    """A layer in which the picture attends to the prompt. U-Nets: attn2; transformers: joint attention, whose keys and
    values of the prompt are `add_k_proj` and `add_v_proj` and whose queries of the picture are `to_q`."""

    name: str
    module: nn.Module
    to_q: nn.Module
    to_k: nn.Module
    to_v: nn.Module
    to_out: nn.Module


def cross_attention(denoiser: nn.Module, prefix: str = "denoiser") -> list[CrossAttention]:
    """The denoiser's cross-attention layers in order of its modules."""
    found = []
    for name, module in denoiser.named_modules():
        layer: Any = module
        if name.endswith(".attn2"):
            parts = (layer.to_q, layer.to_k, layer.to_v)
        elif getattr(layer, "add_k_proj", None) is not None and hasattr(layer, "to_q"):
            parts = (layer.to_q, layer.add_k_proj, layer.add_v_proj)
        else:
            continue
        found.append(CrossAttention(f"{prefix}.{name}", module, *parts, layer.to_out[0]))
    return found


@contextmanager
def recorded_attention(layers: Sequence[CrossAttention], *, text_first: bool = False) -> Iterator[dict[str, Tensor]]:
    """While open, the last probabilities of each layer: name -> (batch, head, query, token), with their graph.

    Queries are latent cells, tokens those of the prompt. In joint attention that block is cut out of the whole
    (text_first: the prompt's tokens come first, as in FLUX); its rows then sum to less than one.
    """
    records: dict[str, Tensor] = {}
    open_: list[tuple[str, int]] = []  # the layer that runs, and how many prompt tokens a joint one was given

    def enter(layer: CrossAttention) -> Any:
        def hook(_: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
            text = kwargs.get("encoder_hidden_states")
            joint = getattr(layer.module, "add_k_proj", None) is not None
            open_.append((layer.name, text.shape[1] if joint and text is not None else 0))

        return hook

    handles = []
    for layer in layers:
        handles.append(layer.module.register_forward_pre_hook(enter(layer), with_kwargs=True))
        handles.append(layer.module.register_forward_hook(lambda *_: open_.pop() and None, always_call=True))
    try:
        with _Spelled(open_, records, text_first):
            yield records
    finally:
        for handle in handles:
            handle.remove()


class _Spelled(TorchFunctionMode):
    """Computes attention step by step where a layer is being recorded: fused kernels hide the probabilities."""

    def __init__(self, open_: list[tuple[str, int]], records: dict[str, Tensor], text_first: bool):
        super().__init__()
        self.open, self.records, self.text_first = open_, records, text_first

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if func is not functional.scaled_dot_product_attention or not self.open:
            return func(*args, **kwargs)
        return self._attend(*args, **kwargs)

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        **_: Any,
    ) -> Tensor:
        logits = query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5 if scale is None else scale)
        if attn_mask is not None:
            logits = logits.masked_fill(~attn_mask, -torch.inf) if attn_mask.dtype == torch.bool else logits + attn_mask
        probabilities = logits.softmax(-1)
        name, text = self.open[-1]
        kept = probabilities
        if text:
            kept = kept[:, :, text:, :text] if self.text_first else kept[:, :, :-text, -text:]
        self.records[name] = kept
        return probabilities @ value
