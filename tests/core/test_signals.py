import math

import numpy as np
import pytest
import torch

from mmunlearn.records import Rows
from mmunlearn.signals import SIGNALS, answers, log_probabilities, signals


def slow(logits: list[float], y: int) -> dict[str, float]:
    """One example's signals by loops over classes, in exact fractions of exponentials."""
    weights = [math.exp(z) for z in logits]
    p = [w / sum(weights) for w in weights]
    others = [j for j in range(len(p)) if j != y]
    return {
        "loss": math.log(p[y]),
        "confidence": p[y],
        "correctness": float(max(range(len(p)), key=lambda j: logits[j]) == y),
        "entropy": sum(q * math.log(q) for q in p),
        "modified_entropy": (1 - p[y]) * math.log(p[y]) + sum(p[j] * math.log(1 - p[j]) for j in others),
        "rescaled_logit": math.log(p[y]) - math.log(sum(p[j] for j in others)),
        "logit_difference": logits[y] - max(logits[j] for j in others),
    }


def rows_of(logits: np.ndarray, target: np.ndarray, **more) -> Rows:
    return Rows(tuple(f"{i:03d}" for i in range(len(logits))), {"logits": logits, "target": target, **more})


def test_class_signals_equal_loops_over_classes():
    draw = np.random.default_rng(1)
    logits, target = 3 * draw.normal(size=(40, 1, 5)), draw.integers(0, 5, (40, 1))
    found = signals(rows_of(logits, target))
    for i in range(40):
        for name, expected in slow(logits[i, 0].tolist(), int(target[i, 0])).items():
            assert expected == pytest.approx(found[name][i], rel=1e-9, abs=1e-12), name


def test_label_signals_are_the_mean_of_two_class_signals():
    draw = np.random.default_rng(2)
    logits, target = 2 * draw.normal(size=(30, 3, 1)), draw.integers(0, 2, (30, 3))
    found = signals(rows_of(logits, target))
    for i in range(30):
        each = [slow([0.0, float(logits[i, k, 0])], int(target[i, k])) for k in range(3)]
        for name in each[0]:
            assert sum(e[name] for e in each) / 3 == pytest.approx(found[name][i], rel=1e-9, abs=1e-12), name
    np.testing.assert_allclose(((2 * target - 1) * logits[..., 0]).mean(-1), found["rescaled_logit"])


def test_answers_of_different_length_are_averaged_over_their_own_tokens():
    rows = Rows.of([
        {"id": "a", "logits": [[1.0, 0.0], [0.0, 2.0]], "target": [0, 1], "nll": 1.0, "count": 2},
        {"id": "b", "logits": [[1.0, 0.0], [0.0, 2.0]], "target": [0], "nll": 1.0, "count": 1},
    ])  # fmt: skip
    found = signals(rows)
    np.testing.assert_allclose([1.5, 1.0], found["rescaled_logit"])
    np.testing.assert_allclose([-0.5, -1.0], found["loss"])


def test_rescaled_logit_stays_finite_and_exact_where_the_model_is_certain():
    logits = np.array([[[900.0, 0.0, 0.0]], [[0.0, 900.0, 0.0]]])
    found = signals(rows_of(logits, np.zeros((2, 1), dtype=int)))
    # certain and right: 900 - ln 2; certain and wrong: 0 - logsumexp(900, 0)
    np.testing.assert_allclose([900 - math.log(2), -900], found["rescaled_logit"])
    assert np.isfinite(found["modified_entropy"]).all()
    # (1 - p_y) log p_y = -900 and p_1 log(1 - p_1) = ln 2 - 900
    assert math.log(2) - 1800 == pytest.approx(found["modified_entropy"][1])


def test_log_of_the_rest_is_exact_at_both_ends():
    log_p, log_rest = log_probabilities(np.array([[40.0, 0.0]]))
    np.testing.assert_allclose([[-math.log1p(math.exp(-40)), -40]], log_p, atol=1e-15)
    np.testing.assert_allclose([[-40.0, -math.log1p(math.exp(-40))]], log_rest, rtol=1e-15, atol=1e-30)


@pytest.mark.parametrize("labels", [False, True])
def test_last_layer_gradient_norm_equals_autograd(labels):
    draw = torch.Generator().manual_seed(3)
    layer = torch.nn.Linear(6, 4)
    hidden = torch.randn(9, 6, generator=draw)
    target = torch.randint(0, 2, (9, 4), generator=draw) if labels else torch.randint(0, 4, (9, 1), generator=draw)
    expected, logits = [], []
    for h, t in zip(hidden, target, strict=True):
        z = layer(h)
        if labels:
            loss = torch.nn.functional.binary_cross_entropy_with_logits(z, t.float(), reduction="sum")
        else:
            loss = torch.nn.functional.cross_entropy(z[None], t)
        gradients = torch.autograd.grad(loss, list(layer.parameters()))
        expected.append(math.sqrt(sum(float((g.double() ** 2).sum()) for g in gradients)))
        logits.append(z.detach().double().numpy())
    shaped = np.asarray(logits)[..., None] if labels else np.asarray(logits)[:, None]
    rows = rows_of(shaped, target.numpy(), feature_norm=hidden.norm(dim=1).double().numpy())
    np.testing.assert_allclose(expected, -signals(rows)["last_layer_gradient_norm"], rtol=1e-5)


def test_every_signal_is_described_and_higher_for_the_surer_answer():
    logits = np.array([[[0.1, 0.0]], [[4.0, 0.0]]])
    columns = {
        "nll": np.array([0.64, 0.02]), "count": np.ones(2), "feature_norm": np.ones(2),
        "grad_norm": np.array([2.0, 0.1]),
    }  # fmt: skip
    found = signals(rows_of(logits, np.zeros((2, 1)), **columns))
    token = {name: np.array([[low] * 10, [high] * 10]) for name, low, high in (
        ("token_logprob", -3.0, -0.1), ("token_mu", -2.0, -2.0), ("token_var", 1.0, 1.0))}  # fmt: skip
    target = np.array(["a word", "a word"], dtype=object)
    found |= signals(Rows(("a", "b"), {**token, "target": target, "nll": columns["nll"], "count": np.ones(2)}))
    assert set(SIGNALS) == set(found)
    assert all(values[1] >= values[0] for values in found.values())


def test_an_example_with_a_missing_number_is_nan_and_alone_in_it():
    logits = np.array([[[np.nan, 0.0]], [[1.0, 0.0]]])
    found = signals(rows_of(logits, np.zeros((2, 1), dtype=int)))
    assert [True, False] == np.isnan(found["rescaled_logit"]).tolist()
    assert 0 == answers(rows_of(logits[:0], np.zeros((0, 1)))).logits.shape[0]
