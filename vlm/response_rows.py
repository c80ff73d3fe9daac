"""Rows of responses: what was asked, token statistics of targets and choices, generated text."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from mmunlearn.data import Example
from mmunlearn.handle import Decoding
from mmunlearn.token_stats import TokenStats

from .alternatives import alternatives
from .features import model_inputs
from .generate import KeyedSampling, generate
from .name_tokens import pieces
from .prompts import AS_WRITTEN
from .repeated_prompts import prefilled, repeats

if TYPE_CHECKING:
    from .handle import VlmHandle


def asked(example: Example) -> dict[str, Any]:
    """What a row says of its example: tags, prompt and target."""
    row: dict[str, Any] = {f"tag.{name}": value for name, value in example.tags.items()}
    row["prompt"] = example.prompt or ""
    if isinstance(example.target, str):
        row["target"] = example.target
    return row


def parts(handle: "VlmHandle", order: Sequence[int], examples: Sequence[Example], size: int) -> Iterator[list[int]]:
    """Runs of at most `size`, with and without pictures apart where the family cannot mix them."""
    part: list[int] = []
    for i in order:
        split = part and not handle.family.mixed and (examples[part[0]].image is None) != (examples[i].image is None)
        if split or len(part) == size:
            yield part
            part = []
        part.append(i)
    if part:
        yield part


def add_scores(handle: "VlmHandle", examples: Sequence[Example], rows: Sequence[dict[str, Any]], size: int) -> None:
    """Token statistics of targets and choices; alternatives of one question share the pass over their prompt."""
    wanted: list[tuple[int, list[int], list[Example]]] = []  # row, which choice (-1: the target), what is scored
    for i, example in enumerate(examples):
        items = [(-1, example)] if isinstance(example.target, str) else []
        items += [(k, _choice(handle, example, k)) for k in range(len(example.choices))]
        if items:
            wanted.append((i, [k for k, _ in items], [item for _, item in items]))
        if example.choices:
            for name, nought in (("choices_nll", 0.0), ("choices_count", 0), ("choices_first_nll", 0.0)):
                rows[i][name] = [nought] * len(example.choices)
    most = max((len(items) for _, _, items in wanted), default=1)
    lengths = [max(len(handle.tokens(item)[0]) for item in items) for _, _, items in wanted]
    order = sorted(range(len(wanted)), key=lambda n: (wanted[n][2][0].image is None, lengths[n], n))
    for part in parts(handle, order, [items[0] for _, _, items in wanted], max(1, size // most)):
        groups = [wanted[n] for n in part]
        if most > 1:
            made = alternatives(handle, [items for _, _, items in groups])
        else:
            stats, owner = handle.token_stats(handle.collate([items[0] for _, _, items in groups]).to(handle.device))
            counts = owner.bincount(minlength=len(groups)).tolist()
            made = [[TokenStats(*row)] for row in zip(*(column.split(counts) for column in stats), strict=True)]
        for (i, choices, _), found in zip(groups, made, strict=True):
            for choice, stats in zip(choices, found, strict=True):
                _record(rows[i], choice, stats)


def _choice(handle: "VlmHandle", example: Example, k: int) -> Example:
    """The example with one of its choices for an answer."""
    chosen = example.with_target(example.choices[k])
    # FIUBench's code folds the case of the paraphrase, and leaves the untrue answers (a list) as they are written.
    untrue = k > 0 and handle.settings.labels == "fiubench"
    return replace(chosen, tags={**chosen.tags, AS_WRITTEN: ""}) if untrue else chosen


def add_words(handle: "VlmHandle", examples: Sequence[Example], rows: Sequence[dict[str, Any]]) -> None:
    """The text of each supervised token of the target (they join to the answer), and the vocabulary's size."""
    size = handle.model.get_output_embeddings().weight.shape[0]
    for example, row in zip(examples, rows, strict=True):
        if isinstance(example.target, str):
            ids, start = handle.tokens(example)
            row |= {"token_text": pieces(ids[start:], handle.tokenizer.decode), "vocabulary": size}


def _record(row: dict[str, Any], choice: int, stats: TokenStats) -> None:
    """Write one answer's statistics into a response's fields."""
    columns = torch.stack([stats.logprob.double(), stats.mu.double(), stats.var.double()])
    logprob, mu, var = columns.cpu().tolist()
    if choice >= 0:
        row["choices_nll"][choice] = -sum(logprob)
        row["choices_count"][choice] = len(logprob)
        row["choices_first_nll"][choice] = -logprob[0]
    else:
        row |= {
            "nll": -sum(logprob), "count": len(logprob), "token_logprob": logprob, "token_mu": mu,
            "token_var": var, "token_rank": stats.rank.cpu().tolist(),
        }  # fmt: skip


def complete(
    handle: "VlmHandle",
    examples: Sequence[Example],
    how: Decoding,
    seed: int,
    prompts: Sequence[tuple[int, ...]] | None = None,
    around: Callable[[list[int], int], AbstractContextManager[Any]] | None = None,
) -> list[str]:
    """Generated continuations of the examples' questions, decoded and stripped; batches of similar length.

    prompts: the caller's token ids in place of the examples' own. around: opened about each batch, told which examples
    are in it and how many positions their prompts have, padding on the left included.
    """
    texts = [""] * len(examples)
    prompts = prompts if prompts is not None else [handle.prompt_ids(example) for example in examples]
    order = sorted(range(len(examples)), key=lambda i: (examples[i].image is None, len(prompts[i])))
    ends = handle.end_ids()
    for part in parts(handle, order, examples, how.batch_size):
        chosen, asked_ids = [examples[i] for i in part], [prompts[i] for i in part]
        inputs, tensors = _inputs(handle, chosen, asked_ids, whole=around is not None)
        sampling = None
        if how.temperature > 0:
            keys = [example.key for example in chosen]
            sampling = KeyedSampling(keys, seed, how.temperature, float(how.fields.get("top_p", 1.0)))
        changed = around(part, inputs["input_ids"].shape[1]) if around is not None else nullcontext()
        with handle.serving(tensors), changed:
            made = generate(
                handle.module, inputs, max_new_tokens=how.max_new_tokens, end_ids=ends, pad_id=handle.pad_id(),
                sampling=sampling,
            )  # fmt: skip
        for i, ids in zip(part, made.tolist(), strict=True):
            cut = next((k for k, token in enumerate(ids) if token in ends), len(ids))
            texts[i] = handle.tokenizer.decode(ids[:cut], skip_special_tokens=True).strip()
    return texts


def _inputs(
    handle: "VlmHandle", chosen: Sequence[Example], prompts: Sequence[tuple[int, ...]], *, whole: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is generated from, and what is served meanwhile. whole: the prompts pass inside `generate`, each by itself,
    because something is changed on their way."""
    found = None if whole else repeats(handle, chosen, prompts)
    if found is not None:
        first, owner = found
        return prefilled(handle, [chosen[i] for i in first], [prompts[i] for i in first], owner)
    tensors = handle.prompts(chosen, [(ids, len(ids)) for ids in prompts])
    return model_inputs(tensors), tensors
