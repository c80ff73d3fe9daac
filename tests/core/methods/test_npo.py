"""NPO's terms against loops, its gradient at the original against ascent."""

import math

import pytest
import torch

from mmunlearn.methods.npo import Npo


@pytest.mark.parametrize("retain", ["none", "nll", "kl"])
@pytest.mark.parametrize("name", ["classes", "labels", "tokens"])
def test_terms_equal_loops(name, retain, terms_of, slow, slow_kl):
    streams = ("forget",) if retain == "none" else ("forget", "retain")
    method = Npo({"beta": 0.3, "gamma": 2.0, "alpha": 0.5, "retain": retain})
    terms, handle, original, splits = terms_of(method, name, streams=streams)
    expected = 0.0
    for example in splits["forget"]:
        delta = slow(handle, example)[0] - slow(original, example)[0]
        expected += 2 / 0.3 * math.log(1 + math.exp(-0.3 * delta))
    assert terms["forget"].sum.item() == pytest.approx(expected, rel=1e-5)
    assert (terms["forget"].over, terms["forget"].weight) == ("forget.examples", 2.0)
    assert ("retain" in terms) == (retain != "none")
    if retain != "none":
        one = (lambda e: slow(handle, e)[0]) if retain == "nll" else (lambda e: slow_kl(original, handle, e))
        assert terms["retain"].sum.item() == pytest.approx(sum(map(one, splits["retain"])), rel=1e-4, abs=1e-6)
        assert terms["retain"].weight == 0.5


@pytest.mark.parametrize("name", ["classes", "labels", "tokens"])
def test_first_step_is_gradient_ascent_on_the_summed_loss(name, task, run):
    handle, splits = task(name)
    method = Npo({"retain": "none"})
    method.prepare(handle, splits, run)
    (phase,) = method.phases(handle, splits, run)
    batch = handle.collate(splits["forget"].examples)
    phase.terms(handle, {"forget": batch}, None)["forget"].sum.backward()
    got = [p.grad.clone() for p in handle.module.parameters()]
    handle.module.zero_grad()
    (-handle.score(batch).nll.sum()).backward()
    for gradient, parameter in zip(got, handle.module.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["classes", "labels", "tokens"])
def test_forgets_and_keeps(name, moves):
    before, after = moves(Npo, name)
    assert after[0] > before[0] + 0.05 and after[1] < after[0] / 2
