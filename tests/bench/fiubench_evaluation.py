"""Evaluation of FIUBench (mini edition) against a loop that does what the reference's evaluation does.

    python tests/bench/fiubench_evaluation.py [QUESTIONS [MODEL]]

Both sides answer the same forget questions, their three paraphrases, and score the true, the paraphrased and the
perturbed answers. The loop (facts: vlm_fiu_mmu_safe 1.8): batch 1; picture opened, prepared and encoded for every
question and answer; one forward pass a metric (loss, truth ratio's answers one by one, Min-K again), one whole forward
whose output is thrown away before each paraphrase; the annotation file parsed again for the keywords of each answer;
generation always to the full length, since no end token was taught. Ours: `VlmHandle.respond`. MODEL is a saved model
of the mini edition (runs/original-s0/model of a reproduction). Without one the weights are random, so that our answers
do not end where they should either, which makes the ratio smaller than a user sees.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import torch
from mmunlearn.vlm.benchmarks.fiubench import Fiubench
from mmunlearn.vlm.handle import VlmHandle

from mmunlearn.data import Example
from mmunlearn.handle import Decoding

NEW_TOKENS = 50
TARGET = 15.0


def encoded(handle: VlmHandle, example: Example, answer: str | None) -> dict[str, torch.Tensor]:
    """Tensors of one question, everything done anew."""
    handle.pictures.clear()
    handle._token_tables = {}
    assert example.image is not None
    example.image.open()  # decoded once more, as the loop's own data set does
    asked = example.with_target(answer if answer is not None else "x")
    batch = handle.collate([asked])
    if answer is None:
        ids = torch.tensor([handle.prompt_ids(example)])
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": batch.tensors["pixel_values"]}
    return {name: batch.tensors[name] for name in ("input_ids", "attention_mask", "labels", "pixel_values")}


@torch.no_grad()
def loop(handle: VlmHandle, root: Path, forget: list[Example], paraphrased: list[Example]) -> int:
    """The reference's order of work; returns the number of forward passes and generations."""
    model, calls = handle.module, 0
    for example in forget:
        for answer in (example.target, *example.choices, example.target):  # the last one for Min-K
            model(**encoded(handle, example, answer)).logits.float().log_softmax(-1)
            calls += 1
        _generate(handle, example)
        _keywords(root)
        calls += 1
    for example in paraphrased:
        model(**encoded(handle, example, example.target))
        _generate(handle, example)
        _keywords(root)
        calls += 2
    return calls


def _generate(handle: VlmHandle, example: Example) -> str:
    made = handle.module.generate(
        **encoded(handle, example, None), max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS, do_sample=False,
        pad_token_id=handle.tokenizer.pad_token_id,
    )  # fmt: skip
    return handle.tokenizer.decode(made[0], skip_special_tokens=True)


def _keywords(root: Path) -> list[dict]:
    return [json.loads(line) for line in (root / "dataset" / "full.json").read_text().splitlines()]


def main(questions: int = 48, model: Path | None = None) -> float:
    """Print both times and their ratio."""
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        benchmark = Fiubench({})
        benchmark.build_mini(root, 0)
        splits = benchmark.splits(root, "mini")
        forget = list(splits["forget"].examples[:questions])
        chosen = {example.id for example in forget}
        paraphrased = [e for e in splits["forget_ape"].examples if e.id.rpartition("/")[0] in chosen]
        if model is None:
            ours, theirs = (VlmHandle({"template": "mini", "tower": tower}, 0) for tower in ("frozen", "full"))
        else:
            ours, theirs = (VlmHandle.load(model).adapted({"tower": tower}) for tower in ("frozen", "full"))
        theirs.complete(forget[:1], Decoding(max_new_tokens=2), 0)  # first-call costs of the library, on neither side
        started = time.perf_counter()
        calls = loop(theirs, root, forget, paraphrased)
        slow_s = time.perf_counter() - started
        started = time.perf_counter()
        ours.respond(forget, Decoding(256, NEW_TOKENS), 0)
        ours.respond(paraphrased, Decoding(256, NEW_TOKENS, fields={"score": False}), 0)
        fast_s = time.perf_counter() - started
    ratio = slow_s / fast_s
    print(f"{len(forget)} questions, {len(paraphrased)} paraphrases: loop {slow_s:.1f} s ({calls} passes and answers),")
    print(f"batched {fast_s:.2f} s: {ratio:.1f}x (target {TARGET:g}x)")
    return ratio


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 48, Path(sys.argv[2]) if sys.argv[2:] else None)
