"""Alternatives of one question scored behind one pass over what they share: picture, question and template.

Five answers of fifteen tokens behind a prompt of six hundred cost 675 positions instead of 3,075. The prefixes of a
batch are padded on the left, their keys and values kept, repeated for each answer and continued by the answer alone.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mmunlearn.data import Example
from mmunlearn.token_stats import TokenStats, token_stats

from .features import model_inputs

if TYPE_CHECKING:
    from .handle import VlmHandle


@torch.inference_mode()
def alternatives(handle: "VlmHandle", asked: Sequence[Sequence[Example]]) -> list[list[TokenStats]]:
    """Token statistics of every example's answer, question by question; one batch.

    asked: for each question its examples, which differ in `target` alone. Where the family cannot mix items with and
    without a picture, all or none have one. Equal to scoring each example by itself (to rounding).
    """
    drawn = [[handle.tokens(example) for example in group] for group in asked]
    heads = [(group[0][0][: group[0][1]], group[0][1]) for group in drawn]
    for (head, start), group in zip(heads, drawn, strict=True):
        assert all(ids[:start] == head and at == start for ids, at in group), "alternatives share their prompt"
    first = handle.prompts([group[0] for group in asked], heads)
    with handle.serving(first):
        inputs = model_inputs(first)
        told = handle.model.model(**inputs, use_cache=True, return_dict=True)
    owner = torch.tensor([q for q, group in enumerate(asked) for _ in group], device=handle.device)
    answers = [list(ids[start:]) for group in drawn for ids, start in group]
    last = told.last_hidden_state[:, -1][owner]
    after = last[:, None][:, :0]
    if max(map(len, answers)) > 1:
        edits = {"edit": first["edit"][owner]} if "edit" in first else {}
        with handle.serving(edits):
            after = _continued(handle, inputs, told.past_key_values, owner, [answer[:-1] for answer in answers])
    states, targets = [], []
    for row, answer in enumerate(answers):
        states += [last[row][None], after[row, : len(answer) - 1]]
        targets += answer
    weight, bias = handle.head()
    flat = token_stats(
        torch.cat(states), weight, torch.tensor(targets, device=handle.device), bias, form=handle.form
    )  # fmt: skip
    sizes = [len(answer) for answer in answers]
    rows = [TokenStats(*parts) for parts in zip(*(column.split(sizes) for column in flat), strict=True)]
    made = iter(rows)
    return [[next(made) for _ in group] for group in asked]


def _continued(
    handle: "VlmHandle", first: dict[str, Tensor], cache: Any, owner: Tensor, suffixes: list[list[int]]
) -> Tensor:
    """Hidden states of the suffixes (row, token, width) behind the kept prefixes; the cache is used up."""
    padded = handle.padded(suffixes, left=False)
    ids, there = (padded[name].to(handle.device) for name in ("input_ids", "attention_mask"))
    mask = torch.cat([first["attention_mask"][owner], there], dim=1)
    cache.batch_select_indices(owner)
    more = handle.family.continued(handle.model, first, owner, mask)
    return handle.model.model(
        input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, return_dict=True, **more
    ).last_hidden_state
