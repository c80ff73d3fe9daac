"""Norms of single examples' gradients against a backward pass an example, for every layer kind and family."""

import numpy as np
import pytest
import torch
from torch import nn

from mmunlearn.gradient_norms import gradient_norms, with_gradient_norms
from mmunlearn.handle import Batch, Decoding, Scored
from mmunlearn.records import Rows
from mmunlearn.signals import answers, last_layer_gradient_norm
from mmunlearn.testing.method_checks import toy
from mmunlearn.testing.tiny import TinyHandle, TinySettings, memorise, tiny_splits


def by_autograd(handle, examples) -> np.ndarray:
    """A batch of one, one backward, all gradients in one long vector."""
    handle = handle.copy()
    handle.module.eval()
    found = []
    for example in examples:
        handle.module.zero_grad()
        scored = handle.score(handle.collate([example]))
        (scored.nll.sum() / scored.count.sum()).backward()
        flat = [p.grad.double().flatten() for _, p in handle.trainable() if p.grad is not None]
        found.append(torch.cat(flat).norm().item())
    return np.asarray(found)


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("way", ["auto", "layers", "vmap", "loop"])
@pytest.mark.parametrize("task", ["classes", "labels", "tokens"])
def test_equals_a_backward_an_example_for_every_family(task, way, batch_norm):
    settings = TinySettings(task=task, batch_norm=batch_norm)
    examples = tiny_splits(settings)["forget"].examples
    handle = TinyHandle(settings)
    found = gradient_norms(handle, examples, batch_size=5, way=way)
    np.testing.assert_allclose(by_autograd(handle, examples), found, rtol=1e-4)


class Net(nn.Module):
    """Convolutions with few and with many positions, 1x1 with stride, batch and layer norm, in-place operations."""

    def __init__(self, size):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.down, self.wide = nn.Conv2d(4, 32, 1, stride=2), nn.Conv2d(32, 48, 3, stride=2)
        self.last, self.head = nn.LayerNorm(48), nn.Linear(48, 3)
        self.relu = nn.ReLU(inplace=True)
        self.norm.running_mean.uniform_(-1, 1)
        self.norm.running_var.uniform_(0.5, 2)

    def forward(self, x):
        x = self.relu(self.norm(self.stem(x)))
        return self.head(self.last(self.wide(self.relu(self.down(x))).flatten(2).mean(2)))


class Pictures:
    """Just enough of a handle: random pictures, a network, cross-entropy."""

    device = torch.device("cpu")

    def __init__(self, size=16, n=7):
        torch.manual_seed(0)
        self.module = Net(size)
        self.x, self.y = torch.randn(n, 3, size, size), torch.randint(0, 3, (n,))

    def copy(self):
        return self

    def trainable(self):
        return ((n, p) for n, p in self.module.named_parameters() if p.requires_grad)

    def collate(self, examples, view=None):
        rows = torch.tensor(list(examples))
        return Batch(tuple(map(str, examples)), {"x": self.x[rows], "y": self.y[rows]}, torch.ones_like(rows))

    def score(self, batch):
        logits = self.module(batch.tensors["x"])
        nll = nn.functional.cross_entropy(logits, batch.tensors["y"], reduction="none")
        return Scored(nll, batch.count, logits[:, None])


@pytest.mark.parametrize("size", [6, 16])
@pytest.mark.parametrize("way", ["layers", "vmap"])
def test_equals_a_backward_an_example_through_convolutions_and_norms(way, size):
    handle = Pictures(size)
    np.testing.assert_allclose(by_autograd(handle, range(7)), gradient_norms(handle, range(7), way=way), rtol=1e-4)


def test_frozen_weights_do_not_count_and_the_training_mode_comes_back():
    handle = Pictures()
    whole = gradient_norms(handle, range(7))
    handle.module.stem.weight.requires_grad_(False)
    handle.module.train()
    part = gradient_norms(handle, range(7))
    assert handle.module.training
    assert (part < whole).all()
    np.testing.assert_allclose(by_autograd(handle, range(7)), part, rtol=1e-4)


def test_no_examples_give_no_norms():
    assert (0,) == gradient_norms(Pictures(), []).shape


def test_is_at_least_the_last_layers_norm_and_equal_where_that_is_all_that_trains():
    known = toy("core").original.copy()
    data = toy("core").splits["forget"]
    rows = Rows.of([{"id": r.id, **r.fields} for r in known.respond(data.examples, Decoding(), 0)])
    seen = []
    hook = known.module[-1].register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
    known.score(known.collate(data.examples))
    hook.remove()
    norms = dict(zip(data.ids, seen[0].norm(dim=1).tolist(), strict=True))
    rows = rows.with_column("feature_norm", np.asarray([norms[key] for key in rows.ids]))
    last = -last_layer_gradient_norm(rows, answers(rows))
    assert (gradient_norms(known, data.examples) >= last * (1 - 1e-5)).all()
    for layer in list(known.module)[:-1]:
        layer.requires_grad_(False)
    np.testing.assert_allclose(last, gradient_norms(known, data.examples), rtol=1e-4)


def test_stored_norms_are_not_computed_again_and_missing_ones_are(tmp_path, monkeypatch):
    split = tiny_splits()["forget"]
    handle = memorise(TinyHandle(), split, steps=5)
    rows = Rows(tuple(reversed(split.ids)), {})
    first = with_gradient_norms(rows.take([0, 1]), handle, split, tmp_path)
    asked = []
    score = TinyHandle.score
    monkeypatch.setattr(TinyHandle, "score", lambda self, batch: asked.extend(batch.ids) or score(self, batch))
    whole = with_gradient_norms(rows, handle, split, tmp_path)
    assert set(split.ids[:-2]) == set(asked)
    assert first["grad_norm"].tolist() == whole["grad_norm"][:2].tolist()
    np.testing.assert_allclose(by_autograd(handle, split.examples), whole["grad_norm"][::-1], rtol=1e-4)
    asked.clear()
    with_gradient_norms(rows, handle, split, tmp_path)
    assert [] == asked
