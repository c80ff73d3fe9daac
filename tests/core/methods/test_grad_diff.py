"""Gradient difference and NegGrad+ against hand-written loops."""

import pytest
import torch
from torch.nn import functional

from mmunlearn.methods.grad_diff import GradDiff


@pytest.mark.parametrize("name", ["classes", "labels", "tokens"])
def test_terms_equal_loops(name, terms_of, slow):
    method = GradDiff({"alpha": 0.9, "beta": 0.2, "weight_distance": 0.5})
    terms, handle, untouched, splits = terms_of(method, name)
    for stream, weight in (("retain", 0.9), ("forget", -0.2)):
        expected = sum(slow(handle, e)[0] for e in splits[stream])
        assert terms[stream].sum.item() == pytest.approx(expected, rel=1e-5)
        assert terms[stream].weight == weight
    pairs = zip(handle.module.parameters(), untouched.module.parameters(), strict=True)
    distance = sum(
        (a - b) ** 2 for p, q in pairs for a, b in zip(p.flatten().tolist(), q.flatten().tolist(), strict=True)
    )
    total = terms["distance"].sum.item() / len(splits["retain"]) * terms["distance"].weight
    assert total == pytest.approx(0.9 * 0.25 * distance, rel=1e-5)


def test_neggrad_plus_equals_a_hand_written_loop(task, run, arrays, same_weights):
    handle, splits = task()
    twin = handle.copy().module
    start = [p.detach().clone() for p in twin.parameters()]
    (xr, yr), (xf, yf) = arrays(splits["retain"]), arrays(splits["forget"])
    optimiser = torch.optim.SGD(twin.parameters(), lr=0.1)
    for _ in range(6):
        optimiser.zero_grad()
        penalty = sum(((p - s) ** 2).sum() for p, s in zip(twin.parameters(), start, strict=True)) * 0.3 / 2
        loss = 0.8 * (functional.cross_entropy(twin(xr), yr) + penalty)
        (loss - 0.2 * functional.cross_entropy(twin(xf), yf)).backward()
        optimiser.step()
    settings = {
        "epochs": 6, "batch_size": 24, "forget_batch_size": 12, "augment": False, "norm": "eval", "alpha": 0.8,
        "beta": 0.2, "weight_distance": 0.3, "optimiser": {"lr": 0.1},
    }  # fmt: skip
    GradDiff(settings).apply(handle, splits, run)
    same_weights(handle, twin)


def test_skipped_steps_change_nothing(task, run):
    handle, splits = task()
    run.train = run.train.model_copy(update={"log_every": 1})
    GradDiff({"epochs": 2, "batch_size": 5, "skip_unequal": True}).apply(handle, splits, run)
    retain, forget = [5, 5, 5, 5, 4] * 2, [5, 5, 2] * 4
    skipped = [event["gradient_norm"] == 0.0 for event in run.events("step")]
    assert skipped == [r != f for r, f in zip(retain, forget, strict=False)]


@pytest.mark.parametrize("name", ["classes", "labels", "tokens"])
def test_forgets_and_keeps(name, moves):
    before, after = moves(GradDiff, name)
    assert after[0] > before[0] + 0.05 and after[1] < after[0] / 2
