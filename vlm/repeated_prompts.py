"""Prompts that occur several times in a batch pass the model once: their keys and values are kept and repeated.

Attacks that sample ask one prompt five times or twenty; its picture and question are most of the work.
"""

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from mmunlearn.data import Example

from . import single_edits
from .features import model_inputs

if TYPE_CHECKING:
    from .handle import VlmHandle


def repeats(
    handle: "VlmHandle", examples: Sequence[Example], prompts: Sequence[tuple[int, ...]]
) -> tuple[list[int], list[int]] | None:
    """Rows where a prompt (its tokens, picture and edit) occurs first, and for every row which of these it repeats.

    None where nothing repeats, or where the family's prompts must pass whole (`Family.ahead`).
    """
    if not handle.family.ahead or min(map(len, prompts)) < 2:
        return None
    edited = single_edits.edits_of(handle.model) is not None
    places: dict[Hashable, int] = {}
    first: list[int] = []
    owner: list[int] = []
    for row, (example, ids) in enumerate(zip(examples, prompts, strict=True)):
        picture = example.image.digest if example.image is not None else None
        key = (ids, picture, single_edits.record_of(example) if edited else None)
        if key not in places:
            places[key] = len(first)
            first.append(row)
        owner.append(places[key])
    return (first, owner) if len(first) < len(examples) else None


def prefilled(
    handle: "VlmHandle", examples: Sequence[Example], prompts: Sequence[tuple[int, ...]], owner: Sequence[int]
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """What `generate` continues, a row for each entry of `owner`, and these rows' edits.

    examples, prompts: the distinct ones. All but the last token of each passes the model here; `generate` finds their
    keys and values, repeated, and starts with the last one.
    """
    tensors = handle.prompts(examples, [(ids, len(ids)) for ids in prompts])
    inputs = model_inputs(tensors)
    shape = inputs["input_ids"].shape
    cut = {name: tensor[:, :-1] if tensor.shape == shape else tensor for name, tensor in inputs.items()}
    places = (cut["attention_mask"].cumsum(-1) - 1).clamp_min(0)  # as `generate` counts them
    with torch.no_grad(), handle.serving(tensors):
        told = handle.model.model(**cut, position_ids=places, use_cache=True, return_dict=True)
    cache = told.past_key_values
    rows = torch.tensor(owner, device=handle.device)
    cache.batch_select_indices(rows)
    made = {name: tensor[rows] for name, tensor in inputs.items() if tensor.shape == shape}
    return {**made, "past_key_values": cache}, {"edit": tensors["edit"][rows]} if "edit" in tensors else {}
