"""DPO's terms against loops; where the preferred answer comes from."""

import math

import pytest

from mmunlearn.methods.dpo import Dpo


@pytest.mark.parametrize("reference", ["frozen_copy", "cached"])
@pytest.mark.parametrize("name", ["classes", "labels", "tokens"])
def test_terms_equal_loops(name, reference, terms_of, slow):
    method = Dpo({"beta": 0.2, "gamma": 3.0, "reference": reference})
    terms, handle, original, splits = terms_of(method, name)
    expected = 0.0
    for example in splits["forget"]:
        other = method._preferred[example.id].target
        assert other != example.target
        won = slow(original, example, other)[0] - slow(handle, example, other)[0]
        lost = slow(original, example)[0] - slow(handle, example)[0]
        expected += 2 / 0.2 * math.log(1 + math.exp(-0.2 * (won - lost)))
    assert terms["forget"].sum.item() == pytest.approx(expected, rel=1e-5)
    assert (terms["forget"].over, terms["forget"].weight) == ("forget.examples", 3.0)


def test_a_handle_may_offer_the_preferred_answer(task, run):
    handle, splits = task()
    handle.preferred_target = lambda example, generator: 2
    method = Dpo()
    method.prepare(handle, splits, run)
    assert {example.target for example in method._preferred.values()} == {2}


def test_preferred_answers_depend_on_the_seed_and_the_example_alone(task, run):
    handle, splits = task()
    first, second = Dpo(), Dpo({"batch_size": 3})
    first.prepare(handle, splits, run)
    second.prepare(handle, {**splits, "forget": splits["forget"].subset(range(11, -1, -1))}, run)
    assert first._preferred == second._preferred


@pytest.mark.parametrize("name", ["classes", "labels", "tokens"])
def test_forgets_and_keeps(name, moves):
    before, after = moves(Dpo, name)
    assert after[0] > before[0] + 0.05 and after[1] < after[0] / 2
