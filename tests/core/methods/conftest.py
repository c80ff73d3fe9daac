"""Slow, independent views of the tiny tasks: plain arrays, per-example arithmetic in Python floats, one-line runs."""

import json
import math

import pytest
import torch

from mmunlearn.phases import Step
from mmunlearn.run import Run
from mmunlearn.testing.method_checks import mean_nll, toy


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MMUNLEARN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def run(tmp_path):
    return Run.scratch(tmp_path / "run", 0, device="cpu")


@pytest.fixture
def task():
    """task(name) -> (copy of a model that knows the toy task by heart, splits)."""

    def make(name="classes"):
        known = toy("core", name)
        return known.original.copy(), known.splits

    return make


@pytest.fixture
def moves(run, task):
    """moves(cls, task, **settings) -> forget and retain loss before and after, in nats an item."""

    def apply(cls, name="classes", **settings):
        handle, splits = task(name)
        before = mean_nll(handle, splits["forget"]), mean_nll(handle, splits["retain"])
        result = cls({**cls.toy, **settings}).apply(handle, splits, run)
        return before, (mean_nll(result, splits["forget"]), mean_nll(result, splits["retain"]))

    return apply


@pytest.fixture
def terms_of(run, task):
    """terms_of(method, name) -> (terms on all examples, changed handle, untouched handle, splits).

    The handle's weights are moved after `prepare`, so that the original and the model differ.
    """

    def call(method, name="classes", phase=0, streams=("forget", "retain")):
        handle, splits = task(name)
        untouched = handle.copy()
        method.prepare(handle, splits, run)
        phases = method.phases(handle, splits, run)
        draw = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in handle.module.parameters():
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=draw))
        batches = {stream: handle.collate(splits[stream].examples) for stream in streams}
        terms = phases[phase].terms(handle, batches, Step(phases[phase].name, 0, 0, 1, 1, 0))
        return terms, handle, untouched, splits

    return call


@pytest.fixture
def slow():
    """slow(handle, example, target=None) -> (nll, number of items, probability vector of every item), in floats."""

    def look(handle, example, target=None):
        target = example.target if target is None else target
        wanted = target if isinstance(target, tuple) else (target,)
        with torch.no_grad():
            row = handle.module(torch.tensor([json.loads(example.prompt)], dtype=torch.float32))[0].double().tolist()
        if handle.settings.task == "labels":
            vectors = [[1 / (1 + math.exp(z)), 1 / (1 + math.exp(-z))] for z in row]
        else:
            k = handle.settings.classes
            groups = [row[i * k : (i + 1) * k] for i in range(len(wanted))]
            vectors = [[math.exp(z) / sum(math.exp(v) for v in group) for z in group] for group in groups]
        return -sum(math.log(v[t]) for v, t in zip(vectors, wanted, strict=True)), len(wanted), vectors

    return look


@pytest.fixture
def slow_kl(slow):
    """slow_kl(teacher, student, example) -> Σ over items of Σ p (log p − log q), in floats."""

    def divergence(teacher, student, example):
        return sum(
            p * (math.log(p) - math.log(q))
            for t, s in zip(slow(teacher, example)[2], slow(student, example)[2], strict=True)
            for p, q in zip(t, s, strict=True)
        )

    return divergence


@pytest.fixture
def arrays():
    """arrays(split) -> (inputs, classes) as tensors."""

    def make(split):
        return torch.tensor([json.loads(e.prompt) for e in split]), torch.tensor([e.target for e in split])

    return make


@pytest.fixture
def same_weights():
    """same_weights(handle, network): equal to 1e-6."""

    def compare(handle, network, tolerance=1e-6):
        for (name, a), b in zip(handle.module.state_dict().items(), network.state_dict().values(), strict=True):
            assert (a - b).abs().max().item() <= tolerance, name

    return compare
