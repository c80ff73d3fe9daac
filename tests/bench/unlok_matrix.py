"""UnLOK-VQA's loop (edit, attack, score, restore) for one defence: batched by us, record by record as the reference.

    python tests/bench/unlok_matrix.py [RECORDS [MODEL]]

Both sides make an edit for every record, read out three white-box attacks, ask 20 continuations for each of three
black-box attacks and answer ten retain questions, with the same losses and settings. The loop (vlm_unlok_offside_med
7): batch 1 throughout; every training step passes the whole model, tower included; each read-out runs the model again,
keeps all positions of all states and sorts the vocabulary; every continuation is generated alone, to full length, with
the tower run again; the edited weight is written and copied back. Ours: the methods and attacks as they are. MODEL is a
saved model of the mini edition (random weights without one: answers then do not end, which makes our side slower).
"""

import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import torch
from mmunlearn.vlm.attacks.head_projection_readout import HeadProjectionReadout
from mmunlearn.vlm.attacks.image_rephrase import ImageRephrase
from mmunlearn.vlm.attacks.multimodal import Multimodal
from mmunlearn.vlm.attacks.probability_delta import ProbabilityDelta
from mmunlearn.vlm.attacks.question_rephrase import QuestionRephrase
from mmunlearn.vlm.attacks.second_difference import SecondDifference
from mmunlearn.vlm.benchmarks.unlok_vqa import UnlokVqa
from mmunlearn.vlm.handle import VlmHandle
from mmunlearn.vlm.methods.fact_erasure import FactErasure

from mmunlearn.handle import Decoding
from mmunlearn.judges.answer_match import AnswerMatch
from mmunlearn.run import Run

TARGET = 8.0
NEW_TOKENS = 8
STEPS, RATE = 5, 1e-2
READ = (HeadProjectionReadout, ProbabilityDelta, SecondDifference)
ASKED = (QuestionRephrase, ImageRephrase, Multimodal)


def inputs_of(handle: VlmHandle, example, ids):
    """Tensors of one prompt, the picture opened and prepared anew."""
    handle.pictures.clear()
    pixels = handle.picture(example).tensors["pixel_values"]
    return {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long),
            "pixel_values": pixels}  # fmt: skip


def loop(handle: VlmHandle, goals, retain) -> None:
    """The reference's order of work."""
    model = handle.module
    layer = model.model.language_model.layers[1].mlp.down_proj
    for goal in goals:
        kept = layer.weight.detach().clone()
        ids, start = handle.tokens(goal)
        down = torch.randn(1, layer.in_features) / layer.in_features**0.5
        up = torch.zeros(layer.out_features, 1)
        down.requires_grad_(), up.requires_grad_()
        optimiser = torch.optim.AdamW([down, up], lr=RATE, weight_decay=0.0)
        for _ in range(STEPS):
            hook = layer.register_forward_hook(partial(added, down, up))
            logits = model(**inputs_of(handle, goal, ids)).logits.log_softmax(-1)
            loss = sum(logits[0, at - 1, ids[at]] for at in range(start, len(ids))).exp()
            optimiser.zero_grad()
            loss.backward()
            model.zero_grad()
            optimiser.step()
            hook.remove()
        with torch.no_grad():
            layer.weight.add_(up @ down)
            for _ in READ:
                states = model(**inputs_of(handle, goal, handle.prompt_ids(goal)), output_hidden_states=True)
                stacked = torch.cat([model.lm_head(model.model.language_model.norm(h)) for h in states.hidden_states])
                stacked.softmax(-1).sort(-1)
            for cls in ASKED:
                for trial in cls({"candidates": 20}).search(None, [goal], 0):
                    answer(handle, trial.candidate, sample=True)
            for example in retain[:10]:
                answer(handle, example, sample=False)
            layer.weight.copy_(kept)


def added(down, up, layer, inputs, output):
    """The layer's output with the low-rank change on top."""
    return output + (inputs[0] @ down.T) @ up.T


def answer(handle: VlmHandle, example, *, sample: bool) -> str:
    """One continuation of full length."""
    made = handle.module.generate(
        **inputs_of(handle, example, handle.prompt_ids(example)), max_new_tokens=NEW_TOKENS,
        min_new_tokens=NEW_TOKENS, do_sample=sample, pad_token_id=handle.tokenizer.pad_token_id,
    )  # fmt: skip
    return handle.tokenizer.decode(made[0], skip_special_tokens=True)


def ours(handle: VlmHandle, splits, goals, folder: Path) -> None:
    """The same work as the suite does it."""
    forget = splits["forget"].subset(range(len(goals)))
    method = FactErasure({"edit": {"lr": RATE, "steps": STEPS, "together": 64}})
    edited = method.apply(handle, {**splits, "forget": forget}, Run.scratch(folder, 0, device="cpu"))
    # As the card asks goals: continuations alone, which is all that the loop makes.
    how, judge = Decoding(256, NEW_TOKENS, 1.0, {"score": False}), AnswerMatch()
    for cls in (*READ, *ASKED):
        list(cls({"together": 64}).run(edited, goals, judge, how, 0))
    wanted = {goal.tags["record"] for goal in goals}
    damage = [example for example in splits["retain_each"] if example.tags["record"] in wanted]
    edited.respond(damage, Decoding(256, NEW_TOKENS, 0.0, {"score": False}), 0)


def main(records: int = 6, model: Path | None = None) -> float:
    """Print both times, in seconds of the one thread that works, and their ratio."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        benchmark = UnlokVqa({})
        benchmark.build_mini(Path(folder) / "data", 0)
        splits = benchmark.splits(Path(folder) / "data", "mini")
        goals = splits["goals"].examples[:records]
        text = {"hidden_size": 160, "intermediate_size": 480, "num_hidden_layers": 6, "num_attention_heads": 5,
                "num_key_value_heads": 5}  # fmt: skip
        made = {"template": "mini", "architecture": {"text": text}}
        handle = VlmHandle.load(model) if model else VlmHandle(made, 0)
        theirs = handle.copy()
        answer(theirs, goals[0], sample=False)
        started = time.process_time()
        loop(theirs, goals, splits["retain"].examples)
        slow_s = time.process_time() - started
        started = time.process_time()
        ours(handle, splits, goals, Path(folder) / "run")
        fast_s = time.process_time() - started
    ratio = slow_s / fast_s
    print(f"{records} records: loop {slow_s:.1f} s, batched {fast_s:.2f} s: {ratio:.1f}x (target {TARGET:g}x)")
    return ratio


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 6, Path(sys.argv[2]) if sys.argv[2:] else None)
