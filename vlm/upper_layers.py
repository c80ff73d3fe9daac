"""The decoder from one block upwards, replayed on inputs that are kept: what lies below an edit never changes.

An edit of block 7 of 32 needs tower, embeddings and seven blocks once a record, not once a step (vlm_unlok_offside_med
7). The kept inputs are the residual stream below the block and whatever else the model hands its blocks (masks,
position embeddings).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmunlearn.handle import Batch

from .logit_lens import blocks, decoder

if TYPE_CHECKING:
    from .handle import VlmHandle


class UpperLayers:
    """Blocks `first` and above of a handle's decoder on the inputs of one batch (on the handle's device)."""

    def __init__(self, handle: "VlmHandle", batch: Batch, first: int):
        self.handle, self.batch, self.first = handle, batch, first
        self.blocks: Sequence[nn.Module] = list(blocks(handle))[first:]
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        taken = [block.register_forward_pre_hook(self._keep, with_kwargs=True) for block in self.blocks]
        try:
            with torch.no_grad():
                handle.hidden(batch)
        finally:
            for one in taken:
                one.remove()
        if len(self.calls) != len(self.blocks):
            raise RuntimeError("the blocks were not called once each; items with and without pictures were mixed")

    def _keep(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        first = not self.calls  # of the others only what comes beside the residual stream is needed
        if args:
            self.calls.append(((args[0].detach() if first else None, *args[1:]), dict(kwargs)))
        else:
            hidden = kwargs["hidden_states"]
            self.calls.append(((hidden.detach() if first else None,), {**kwargs, "hidden_states": None}))

    def run(self) -> list[Float[Tensor, "batch token width"]]:
        """States first + 1 … L as the blocks give them now, with gradients; the last one after the final norm."""
        (hidden, *_), _ = self.calls[0]
        found = []
        with self.handle.serving({name: t for name, t in self.batch.tensors.items() if name == "edit"}):
            for block, ((_, *more), kwargs) in zip(self.blocks, self.calls, strict=True):
                named = {name: value for name, value in kwargs.items() if name != "hidden_states"}
                out: Any = block(hidden, *more, **named)
                hidden = out[0] if isinstance(out, tuple) else out
                found.append(hidden)
        norm: Any = decoder(self.handle).norm
        return [*found[:-1], norm(found[-1])]
