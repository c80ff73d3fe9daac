"""KL minimisation against loops."""

import pytest

from mmunlearn.methods.kl_min import KlMin


@pytest.mark.parametrize("reference", ["frozen_copy", "cached"])
@pytest.mark.parametrize("name", ["classes", "labels", "tokens"])
def test_terms_equal_loops(name, reference, terms_of, slow, slow_kl):
    method = KlMin({"alpha": 2.0, "beta": 0.5, "reference": reference})
    terms, handle, original, splits = terms_of(method, name)
    assert terms["forget"].sum.item() == pytest.approx(sum(slow(handle, e)[0] for e in splits["forget"]), rel=1e-5)
    expected = sum(slow_kl(original, handle, e) for e in splits["retain"])
    assert terms["retain"].sum.item() == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert (terms["forget"].weight, terms["retain"].weight) == (-0.5, 2.0)
    assert terms["retain"].over == ("retain.examples" if name == "labels" else "retain")


@pytest.mark.parametrize("name", ["classes", "labels", "tokens"])
def test_forgets_and_keeps(name, moves):
    before, after = moves(KlMin, name)
    assert after[0] > before[0] + 0.05 and after[1] < after[0] / 2
