"""MMUnlearner: saliency against loops, the order of steps, masked weights that stay."""

import pytest
import torch
from mmunlearn.vlm.methods.mmunlearner import Mmunlearner, alternation, salient

from mmunlearn.errors import UserError

SETTINGS = {"epochs": 1, "batch_size": 6, "optimiser": {"lr": 0.01, "weight_decay": 0.1}, "schedule": "constant"}


def test_masks_compare_the_two_importances_entry_by_entry():
    forget = {"w": torch.tensor([[1.0, 2.0], [0.0, 1e-20]])}
    preserve = {"w": torch.tensor([[2.0, 1.0], [0.0, 1.0]])}
    assert [[False, True], [True, False]] == salient(forget, preserve, 1.0)["w"].tolist()
    assert [[True, True], [True, False]] == salient(forget, preserve, 0.5)["w"].tolist()


def test_importance_is_the_mean_over_batches_of_the_squared_gradient_of_the_mean(task, run):
    handle, splits = task()
    chosen = Mmunlearner({"batch_size": 12})
    parameters = dict(handle.trainable())

    def slow(split, order):
        total = {name: torch.zeros_like(p) for name, p in parameters.items()}
        parts = [order[i : i + 12] for i in range(0, len(order), 12)]
        for part in parts:
            handle.module.zero_grad()
            scored = handle.score(handle.collate([split[int(i)] for i in part]))
            (scored.nll.sum() / scored.count.sum()).backward()  # over tokens: long answers weigh more
            for name, p in parameters.items():
                if p.grad is not None:
                    total[name] += p.grad**2
        handle.module.zero_grad(set_to_none=True)
        return {name: value / len(parts) for name, value in total.items()}

    from mmunlearn.order import Order

    orders = [Order(len(splits[n]), run.seed, "importance").epoch(0) for n in ("forget", "retain")]
    f, r = slow(splits["forget"], orders[0]), slow(splits["retain"], orders[1])
    chosen.prepare(handle, splits, run)
    for name, mask in chosen._masks.items():
        ratio = (f[name].double() + 1e-15) / (r[name].double() + 1e-15)
        clear = (ratio - 1).abs() > 1e-3  # rounding decides the rest
        assert torch.equal((ratio >= 1)[clear], mask[clear]), name


def test_forget_step_after_every_so_many_retain_steps():
    assert ("retain", "retain", "forget", "retain", "retain", "forget", "retain") == alternation(5, 2)
    assert ("retain", "forget", "retain", "forget") == alternation(2, 1)


def test_steps_show_retain_and_forget_batches_in_turns(task, run):
    handle, splits = task()
    chosen = Mmunlearner(SETTINGS | {"epochs": 2})
    chosen.prepare(handle, splits, run)
    (phase,) = chosen.phases(handle, splits, run)
    shown = phase.streams["step"].split
    kinds = [shown[i].id.split("/")[1] for i in range(0, len(shown), 6)]
    assert alternation(8, 2) == tuple(kinds)  # 24 retain examples in batches of 6, twice; 24 // 12 = 2
    assert 0 == len(shown) % 6
    assert {e.id for e in splits["retain"]} == {e.id for e in shown if "/retain/" in e.id}


@pytest.mark.parametrize("lora", [False, True])
def test_forget_steps_move_salient_weights_alone(lora, task, run):
    """Momentum, weight decay and the ascent itself; under adapters the mask is on the adapters' matrices."""
    handle, splits = task()
    if lora:
        handle = handle.adapted({"lora": {"r": 2, "alpha": 4}})
    chosen = Mmunlearner(SETTINGS)
    seen = []
    hold, mask = chosen._hold, chosen._mask

    def before(parameters, step):
        start = {name: p.detach().clone() for name, p in parameters.items()}
        mask(parameters, step)
        seen.append([chosen._kinds[step.index], start])

    def after(handle, step):
        hold(handle, step)
        seen[-1].append({name: p.detach().clone() for name, p in handle.trainable()})

    chosen._mask, chosen._hold = before, after
    chosen.apply(handle, splits, run)
    forget = [(a, b) for kind, a, b in seen if kind == "forget"]
    assert forget and all(set(a) == set(chosen._masks) for a, _ in forget)
    moved = 0
    for a, b in forget:
        for name, on in chosen._masks.items():
            assert torch.equal(a[name][~on], b[name][~on]), name
            moved += int((a[name][on] != b[name][on]).sum())
    assert moved
    share = sum(int(m.sum()) for m in chosen._masks.values()) / sum(m.numel() for m in chosen._masks.values())
    assert 0.01 < share < 0.99  # a mask that is all ones or all zeros would prove nothing


def test_nothing_to_preserve_is_refused(task, run):
    handle, splits = task()
    with pytest.raises(UserError, match="preserve"):
        Mmunlearner({"preserve": []}).prepare(handle, splits, run)
