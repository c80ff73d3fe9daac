"""LFSSD: the whole edit against a naive loop."""

import pytest
import torch

from mmunlearn.errors import UserError
from mmunlearn.methods.lfssd import Lfssd


@pytest.mark.parametrize("name", ["classes", "labels", "tokens"])
def test_edit_equals_a_loop_over_examples(name, task, run, same_weights):
    handle, splits = task(name)
    twin = handle.copy()

    def importance(split):
        total = [torch.zeros_like(p) for p in twin.module.parameters()]
        for example in split:
            twin.module.zero_grad()
            logits = twin.module(twin.collate([example]).tensors["x"])[0]
            count = len(example.target) if name == "tokens" else 1
            logits = logits[: count * twin.settings.classes]
            (logits.pow(2).sum() / count).backward()
            for t, p in zip(total, twin.module.parameters(), strict=True):
                t += p.grad.abs() / len(split)
        return total

    whole, forget = importance(splits["train"]), importance(splits["forget"])
    with torch.no_grad():
        for p, d, f in zip(twin.module.parameters(), whole, forget, strict=True):
            p.mul_(torch.where(f > 1.3 * d, (0.6 * d / f.clamp(min=1e-30)).clamp(max=1), torch.ones_like(p)))
    Lfssd({"alpha": 1.3, "dampening": 0.6, "importance": "sample"}).apply(handle, splits, run)
    assert run.events("dampened")[0]["selected"] > 0
    same_weights(handle, twin.module, 1e-5)


def test_a_model_without_logits_is_refused_by_name(task, run):
    handle, splits = task()
    score = handle.score
    handle.score = lambda batch: score(batch)._replace(logits=None)
    with pytest.raises(UserError, match="lfssd"):
        Lfssd().apply(handle, splits, run)


@pytest.mark.parametrize("name", ["classes", "labels", "tokens"])
def test_forgets_more_than_it_loses(name, moves):
    before, after = moves(Lfssd, name)
    assert after[0] > before[0] + 0.05 and after[1] < after[0]
