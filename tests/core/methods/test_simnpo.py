"""SimNPO's terms against loops."""

import math

import pytest

from mmunlearn.methods.simnpo import Simnpo


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("name", ["classes", "labels", "tokens"])
def test_terms_equal_loops(name, inside, terms_of, slow):
    method = Simnpo({"beta": 2.0, "gamma": 0.4, "weight": 0.2, "margin_inside_beta": inside})
    terms, handle, _, splits = terms_of(method, name)
    expected = 0.0
    for example in splits["forget"]:
        nll, count, _ = slow(handle, example)
        margin = 2.0 * (nll / count - 0.4) if inside else 2.0 * nll / count - 0.4
        expected += math.log(1 + math.exp(-margin))
    assert terms["forget"].sum.item() == pytest.approx(expected, rel=1e-5)
    assert (terms["forget"].over, terms["forget"].weight) == ("forget.examples", 0.2)
    assert terms["retain"].sum.item() == pytest.approx(sum(slow(handle, e)[0] for e in splits["retain"]), rel=1e-5)


def test_kl_retain_part_is_offered(terms_of, slow_kl):
    terms, handle, original, splits = terms_of(Simnpo({"retain": "kl"}))
    expected = sum(slow_kl(original, handle, e) for e in splits["retain"])
    assert terms["retain"].sum.item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", ["classes", "labels", "tokens"])
def test_forgets_and_keeps(name, moves):
    before, after = moves(Simnpo, name)
    assert after[0] > before[0] + 0.05 and after[1] < after[0] / 2
