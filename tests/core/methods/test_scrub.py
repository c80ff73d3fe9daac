"""SCRUB against hand-written loops; rewinding against counted errors."""

import pytest
import torch
from torch.nn import functional

from mmunlearn.handle import weights_digest
from mmunlearn.methods.scrub import Scrub, _error, rewind_point


@pytest.mark.parametrize("name", ["classes", "labels", "tokens"])
def test_terms_equal_loops(name, terms_of, slow, slow_kl):
    method = Scrub({"temperature": 1.0, "alpha": 0.3, "gamma": 0.9})
    terms, handle, original, splits = terms_of(method, name, streams=("forget",))
    expected = sum(slow_kl(original, handle, e) for e in splits["forget"])
    assert terms["forget"].sum.item() == pytest.approx(expected, rel=1e-4)
    assert terms["forget"].weight == -1.0
    terms, handle, original, splits = terms_of(method, name, phase=1, streams=("retain",))
    assert terms["retain"].sum.item() == pytest.approx(sum(slow(handle, e)[0] for e in splits["retain"]), rel=1e-5)
    expected = sum(slow_kl(original, handle, e) for e in splits["retain"])
    assert terms["kl"].sum.item() == pytest.approx(expected, rel=1e-4)
    assert (terms["retain"].weight, terms["kl"].weight) == (0.9, 0.3)


@pytest.mark.parametrize("order", ["forget_first", "retain_first"])
def test_equals_a_hand_written_loop(order, task, run, arrays, same_weights):
    handle, splits = task()
    with torch.no_grad():
        handle.module[0].weight.mul_(0.8)
    student, teacher = handle.copy().module.train(), handle.copy().module
    (xf, _), (xr, yr) = arrays(splits["forget"]), arrays(splits["retain"])
    rate, temperature = 0.02, 4.0
    optimiser = torch.optim.SGD(student.parameters(), lr=rate, momentum=0.9, weight_decay=0.01)

    def kl(x):
        with torch.no_grad():
            target = torch.softmax(teacher(x) / temperature, 1)
        student_log = torch.log_softmax(student(x) / temperature, 1)
        return functional.kl_div(student_log, target, reduction="sum") * temperature**2 / len(x)

    def step(loss):
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    for epoch in range(1, 6):
        for group in optimiser.param_groups:
            group["lr"] = rate * 0.1 ** sum(epoch > after for after in (2, 4))
        for part in ("forget", "retain") if order == "forget_first" else ("retain", "forget"):
            if part == "retain":
                step(0.9 * functional.cross_entropy(student(xr), yr) + 0.3 * kl(xr))
            elif epoch <= 3:
                step(-kl(xf))
    settings = {
        "epochs": 5, "msteps": 3, "alpha": 0.3, "gamma": 0.9, "temperature": temperature, "batch_size": 24,
        "forget_batch_size": 12, "decay_after": [2, 4], "order": order, "augment": False,
        "optimiser": {"name": "sgd", "lr": rate, "momentum": 0.9, "weight_decay": 0.01},
    }  # fmt: skip
    Scrub(settings).apply(handle, splits, run)
    same_weights(handle, student)


def test_passes_have_their_own_batch_sizes_and_stop_after_msteps(task, run):
    handle, splits = task()
    method = Scrub({"epochs": 3, "msteps": 2, "batch_size": 8, "forget_batch_size": 3})
    method.prepare(handle, splits, run)
    phases = method.phases(handle, splits, run)
    assert [p.name for p in phases] == ["forget@0", "retain@0", "forget@1", "retain@1", "retain@2"]
    assert [next(iter(p.streams.values())).batch_size for p in phases] == [3, 8, 3, 8, 8]


@pytest.mark.parametrize(
    ("errors", "goal", "chosen"), [([0.0, 0.2, 0.5], 0.3, 1), ([0.0, 0.2, 0.5], 0.0, 0), ([0.1, 0.3, 0.1], 0.1, 2)]
)
def test_rewind_point_is_the_nearest_error_and_the_later_of_equals(errors, goal, chosen):
    assert rewind_point(errors, goal) == chosen


def test_calibration_error_is_weighted_like_the_forget_set(task, slow):
    handle, splits = task()
    wrong = {}
    for example in splits["calibration"]:
        _, _, (vector,) = slow(handle, example)
        wrong.setdefault(example.target, []).append(vector.index(max(vector)) != example.target)
    shares = {k: sum(e.target == k for e in splits["forget"]) for k in wrong}
    expected = sum(shares[k] * sum(v) / len(v) for k, v in wrong.items()) / sum(shares.values())
    assert _error(handle, splits["calibration"], 5, like=splits["forget"]) == pytest.approx(expected)
    assert _error(handle, splits["forget"], 5) == 0.0


def test_rewinding_may_return_the_original(task, run):
    handle, splits = task()
    before = weights_digest(handle.module)
    known = {**splits, "calibration": splits["retain"]}  # the final model makes no mistake there
    Scrub({"epochs": 4, "optimiser": {"lr": 0.02}, "batch_size": 12, "rewind": True}).apply(handle, known, run)
    (event,) = run.events("rewind")
    assert len(event["forget_errors"]) == 5 and event["reference_error"] <= 0.1
    assert event["chosen"] == 0 or event["forget_errors"][event["chosen"]] == 0
    assert (weights_digest(handle.module) == before) == (event["chosen"] == 0)


@pytest.mark.parametrize("rewind", [False, True])
@pytest.mark.parametrize("name", ["classes", "labels", "tokens"])
def test_forgets_and_keeps(name, rewind, moves):
    before, after = moves(Scrub, name, rewind=rewind)
    assert after[0] > before[0] + 0.05 and after[1] < after[0] / 2
