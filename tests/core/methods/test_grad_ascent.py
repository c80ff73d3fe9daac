"""Gradient ascent: its terms, its guard, MUFAC's pace."""

import math

import pytest
import torch
from torch.nn import functional

from mmunlearn.errors import UserError
from mmunlearn.methods.grad_ascent import GradAscent


@pytest.mark.parametrize("name", ["classes", "labels", "tokens"])
def test_term_equals_a_loop_with_losses_capped_at_chance(name, terms_of, slow):
    terms, handle, _, splits = terms_of(GradAscent(), name, streams=("forget",))
    expected = 0.0
    for example in splits["forget"]:
        nll, count, vectors = slow(handle, example)
        expected += min(nll, count * math.log(len(vectors[0])))
    assert terms["forget"].sum.item() == pytest.approx(expected, rel=1e-5)
    assert (terms["forget"].over, terms["forget"].weight) == ("forget", -1.0)


def test_uncapped_equals_plain_ascent(task, run, arrays, same_weights):
    handle, splits = task()
    twin = handle.copy().module.train()
    x, y = arrays(splits["forget"])
    optimiser = torch.optim.SGD(twin.parameters(), lr=0.1)
    for _ in range(3):
        optimiser.zero_grad()
        (-functional.cross_entropy(twin(x), y)).backward()
        optimiser.step()
    settings = {"epochs": 3, "augment": False, "stop_at_chance": False}
    optimiser_settings = {"lr": 0.1, "momentum": 0.0, "weight_decay": 0.0}
    GradAscent({**settings, "optimiser": optimiser_settings}).apply(handle, splits, run)
    same_weights(handle, twin)


@pytest.mark.parametrize("name", ["classes", "labels", "tokens"])
def test_forget_loss_rises_and_stays_finite_at_an_absurd_rate(name, moves):
    before, after = moves(GradAscent, name, epochs=50, optimiser={"lr": 10.0, "momentum": 0.0})
    assert before[0] < after[0] < math.inf


def test_limit_in_nats_replaces_chance(terms_of, slow):
    terms, handle, _, splits = terms_of(GradAscent({"limit_nats": 0.5}), streams=("forget",))
    expected = sum(min(slow(handle, e)[0], 0.5) for e in splits["forget"])
    assert terms["forget"].sum.item() == pytest.approx(expected, rel=1e-5)


def test_retain_pace_makes_a_step_a_retain_batch(task, run):
    handle, splits = task()
    run.train = run.train.model_copy(update={"log_every": 1})
    GradAscent({"pace": "retain", "epochs": 2, "batch_size": 5}).apply(handle, splits, run)
    assert len(run.events("step")) == 2 * 5  # 24 retain examples in batches of 5


def test_unequal_batches_are_skipped_as_cycled_loaders_would_meet_them(task, run):
    handle, splits = task()
    run.train = run.train.model_copy(update={"log_every": 1})
    settings = {"pace": "retain", "epochs": 2, "batch_size": 5, "skip_unequal": True, "optimiser": {"lr": 1e-4}}
    GradAscent(settings).apply(handle, splits, run)
    retain, forget = [5, 5, 5, 5, 4] * 2, [5, 5, 2] * 4
    skipped = [event["gradient_norm"] == 0.0 for event in run.events("step")]
    assert skipped == [r != f for r, f in zip(retain, forget, strict=False)]


def test_skipping_needs_the_retain_pace(task, run):
    handle, splits = task()
    with pytest.raises(UserError, match="pace"):
        GradAscent({"skip_unequal": True}).apply(handle, splits, run)
