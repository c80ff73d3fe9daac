"""Bad teaching against loops."""

import pytest
import torch
from torch.nn import functional

from mmunlearn.methods.bad_teaching import BadTeaching
from mmunlearn.seeds import derive


@pytest.mark.parametrize("reduction", ["batchmean", "mean"])
@pytest.mark.parametrize("name", ["classes", "labels", "tokens"])
def test_terms_equal_loops(name, reduction, task, run, slow_kl):
    handle, splits = task(name)
    original, incompetent = handle.copy(), handle.fresh(derive(0, "init", "incompetent"))
    method = BadTeaching({"retain_frac": 0.5, "reduction": reduction})
    method.prepare(handle, splits, run)
    (phase,) = method.phases(handle, splits, run)
    with torch.no_grad():
        handle.module[0].weight.mul_(1.3)
    mixed = phase.streams["mixed"].split
    term = phase.terms(handle, {"mixed": handle.collate(mixed.examples)}, None)["kl"]
    forget = set(splits["forget"].ids)
    expected = sum(slow_kl(incompetent if e.id in forget else original, handle, e) for e in mixed)
    assert term.sum.item() == pytest.approx(expected, rel=1e-4)
    classes = handle.settings.classes
    assert term.weight == (1.0 if reduction == "batchmean" else 1 / classes)
    assert term.over == ("mixed.examples" if name == "labels" else "mixed")


def test_takes_the_whole_forget_set_and_a_share_of_the_retain_set(task, run):
    handle, splits = task()
    method = BadTeaching()
    method.prepare(handle, splits, run)
    ids = set(method._mixed.ids)
    assert set(splits["forget"].ids) <= ids
    assert len(ids & set(splits["retain"].ids)) == round(0.3 * 24)


def test_equals_a_hand_written_loop(task, run, arrays, same_weights):
    handle, splits = task()
    net, good = handle.copy().module.train(), handle.copy().module
    bad = handle.fresh(derive(0, "init", "incompetent")).module
    (xf, _), (xr, _) = arrays(splits["forget"]), arrays(splits["retain"])
    x, forget = torch.cat([xf, xr]), torch.tensor([1.0] * 12 + [0.0] * 24)[:, None]
    optimiser = torch.optim.SGD(net.parameters(), lr=0.3)
    for _ in range(5):
        with torch.no_grad():
            target = forget * torch.softmax(bad(x) / 2, 1) + (1 - forget) * torch.softmax(good(x) / 2, 1)
        optimiser.zero_grad()
        functional.kl_div(torch.log_softmax(net(x) / 2, 1), target).backward()  # the mean over all elements
        optimiser.step()
    settings = {
        "epochs": 5, "batch_size": 36, "augment": False, "retain_frac": 1.0, "temperature": 2.0, "reduction": "mean",
        "optimiser": {"name": "sgd", "lr": 0.3},
    }  # fmt: skip
    BadTeaching(settings).apply(handle, splits, run)
    same_weights(handle, net)


@pytest.mark.parametrize("name", ["classes", "labels", "tokens"])
def test_forgets_and_keeps(name, moves):
    before, after = moves(BadTeaching, name)
    assert after[0] > before[0] + 0.05 and after[1] < after[0] / 2
