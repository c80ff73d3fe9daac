"""NPO with the batch mean inside the sigmoid, against its formula written out."""

import math

import pytest
import torch
from mmunlearn.vlm.methods.npo_batch_mean import NpoBatchMean

from mmunlearn.run import Run


def test_loss_is_one_gate_over_the_batch_mean(task, tmp_path):
    handle, data = task()
    method = NpoBatchMean({"beta": 0.9})
    method.prepare(handle, data, Run.scratch(tmp_path))
    examples = data["forget"].examples[:5]
    before = [float(handle.score(handle.collate([e])).nll.sum()) for e in examples]
    with torch.no_grad():
        for parameter in handle.module.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    batch = handle.collate(examples)
    term = method._terms(handle, {"forget": batch}, None)["forget"]
    after = [float(handle.score(handle.collate([e])).nll.sum()) for e in examples]
    tokens = sum(len(handle.tokens(e)[0]) - handle.tokens(e)[1] for e in examples)
    gap = (sum(after) - sum(before)) / tokens
    assert term.over == "forget.examples"
    assert -2 / 0.9 * -math.log1p(math.exp(-0.9 * gap)) == pytest.approx(float(term.sum) / 5, rel=1e-4)


def test_it_forgets(task, run):
    handle, data = task()
    batch = handle.collate(data["forget"].examples)
    before = float(handle.score(batch).nll.mean())
    NpoBatchMean(NpoBatchMean.toy).apply(handle, data, run)
    assert float(handle.score(batch).nll.mean()) > before + 0.1
