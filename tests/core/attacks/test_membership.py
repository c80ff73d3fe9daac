import numpy as np
import pytest

from mmunlearn.attacks.membership import Membership
from mmunlearn.errors import UserError
from mmunlearn.handle import Decoding
from mmunlearn.metrics.base import Sight
from mmunlearn.metrics.mia import Mia
from mmunlearn.records import Rows
from mmunlearn.roc import auc
from mmunlearn.signals import signals
from mmunlearn.testing.tiny import TinyHandle, TinySettings, memorise, tiny_splits


@pytest.fixture(scope="module", params=["classes", "labels", "tokens"])
def sights(request) -> dict[str, Sight]:
    """Answers of a tiny model before and after it learnt the forget split by heart."""
    settings = TinySettings(task=request.param)
    data = tiny_splits(settings, forget=40, retain=40, holdout=40)
    handle, found = TinyHandle(settings), {}
    for name in ("fresh", "trained"):
        rows = [
            Rows.of([{"id": a.id, **a.fields} for a in handle.respond(data[s].examples, Decoding(), 0)])
            for s in ("forget", "unseen")
        ]
        found[name] = Sight(*rows)
        memorise(handle, data["train"])
    return found


def test_a_model_that_learnt_by_heart_is_found_out_and_a_fresh_one_is_not(sights):
    fresh, trained = (Membership().measure(sights[name], 0) for name in ("fresh", "trained"))
    for name in ("loss", "confidence", "modified_entropy", "rescaled_logit", "logit_difference"):
        assert trained[f"{name}_auc"].value > 0.85, name
        assert 0.5 == pytest.approx(fresh[f"{name}_auc"].value, abs=0.2), name
    assert trained["mia"].value > 0.7


def test_every_value_has_its_figures_in_one_pass(sights):
    cells = Membership().measure(sights["trained"], 0)
    inside, outside = (signals(rows.sorted()) for rows in (sights["trained"].rows, sights["trained"].against))
    for name in inside:
        expected = auc(inside[name], outside[name])
        assert (expected.value, expected.low) == (cells[f"{name}_auc"].value, cells[f"{name}_auc"].low)
        for figure in ("tpr_at_0.1pct_fpr", "tpr_at_1pct_fpr", "tpr_at_10pct_fpr", "balanced_accuracy"):
            value = cells[f"{name}_{figure}"]
            assert value.low is not None and 0 <= value.low <= value.high <= 1
    assert Mia().reduce(sights["trained"]) == cells["mia"]
    assert abs(cells["mia"].value - 0.5) == cells["forgetting_score"].value
    assert 80 == cells["loss_auc"].n


def test_order_of_rows_does_not_matter_and_the_seed_only_moves_intervals(sights):
    sight = sights["fresh"]
    turned = Sight(sight.rows.take(range(39, -1, -1)), sight.against.take(range(39, -1, -1)))
    one, two, three = (Membership().measure(s, seed) for s, seed in ((sight, 1), (turned, 1), (sight, 2)))
    assert one == two
    assert {k: v.value for k, v in one.items()} == {k: v.value for k, v in three.items()}
    assert one["loss_balanced_accuracy"].stderr != three["loss_balanced_accuracy"].stderr


def test_only_the_signals_asked_for(sights):
    cells = Membership({"signals": ["confidence"]}).measure(sights["trained"], 0)
    assert all(name.startswith("confidence_") for name in cells)
    with pytest.raises(UserError, match="'confidance' is no signal"):
        Membership({"signals": ["confidance"]}).measure(sights["trained"], 0)
    with pytest.raises(UserError, match="do not allow 'gradient_norm'"):
        Membership({"signals": ["gradient_norm"]}).measure(sights["trained"], 0)


def test_rows_without_logits_still_give_the_loss():
    rows = [Rows(tuple(f"{s}{i}" for i in range(20)), {"nll": np.arange(20.0) + s}) for s in (0, 5)]
    cells = Membership().measure(Sight(*rows), 0)
    assert {"loss"} == {name.partition("_")[0] for name in cells} - {"mia", "forgetting"}
    assert cells["loss_auc"].value > 0.5


def test_empty_sides_are_nan_without_an_error():
    rows = Rows(("a",), {"nll": np.array([1.0])})
    for sight in (Sight(Rows((), {}), rows), Sight(rows, Rows((), {})), Sight(Rows((), {}), Rows((), {}))):
        cells = Membership().measure(sight, 0)
        assert all(value.n == 0 and np.isnan(value.value) for value in cells.values())
