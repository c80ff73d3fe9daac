"""Per-example gradients: rules for layers and vmap against one backward pass an example."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from mmunlearn import per_sample
from mmunlearn.handle import Batch, Scored
from mmunlearn.testing.method_checks import toy


class Pictures:
    """Just enough of a handle: random pictures, a network, cross-entropy."""

    device = torch.device("cpu")

    def __init__(self, module, n=7, size=8, classes=3):
        draw = torch.Generator().manual_seed(0)
        self.module, self.settings = module, None
        for parameter in module.parameters():
            parameter.data.copy_(0.5 * torch.randn(parameter.shape, generator=draw))
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.copy_(torch.randn(layer.num_features, generator=draw))
                layer.running_var.copy_(1 + torch.rand(layer.num_features, generator=draw))
        self.x = torch.randn(n, 3, size, size, generator=draw)
        self.y = torch.randint(0, classes, (n,), generator=draw)

    def trainable(self):
        return self.module.named_parameters()

    def collate(self, examples, view=None):
        rows = torch.tensor(list(examples))
        tensors = {"x": self.x[rows], "target": self.y[rows][:, None]}
        return Batch(tuple(map(str, examples)), tensors, torch.ones(len(rows), dtype=torch.int64))

    def score(self, batch):
        logits = self.module(batch.tensors["x"])
        nll = functional.cross_entropy(logits, batch.tensors["target"][:, 0], reduction="none")
        return Scored(nll, batch.count, logits[:, None], None, batch.tensors["target"])


class Residual(nn.Module):
    """The operations of a ResNet that trip hooks up: in-place activations and an in-place sum."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.one, self.two = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.down = nn.Conv2d(4, 6, 1, stride=2)
        self.head = nn.Linear(6, 3)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        x = self.relu(self.norm(self.stem(x)))
        y = self.two(self.one(x))
        y += x
        return self.head(self.down(self.relu(y)).mean((2, 3)))


class Sequence(nn.Module):
    """A layer norm and linear layers over positions, and a parameter of its own that no layer rule covers."""

    def __init__(self, own=False):
        super().__init__()
        self.inside, self.norm, self.out = nn.Linear(24, 5), nn.LayerNorm(5), nn.Linear(5, 3)
        self.own = nn.Parameter(torch.zeros(5)) if own else None

    def forward(self, x):
        x = self.inside(x.transpose(1, 2).flatten(2))
        x = self.norm(torch.tanh(x if self.own is None else x + self.own))
        return self.out(x).mean(1)


def nll_rows(scored):
    return scored.nll[None]


def two_rows(scored):
    return torch.stack([scored.nll, (scored.logits**2).sum((1, 2))])


@pytest.mark.parametrize("rows", [nll_rows, two_rows])
@pytest.mark.parametrize("power", ["squared", "absolute"])
@pytest.mark.parametrize("network", [Residual, Sequence])
@pytest.mark.parametrize("way", ["layers", "vmap"])
def test_equals_one_backward_an_example(way, network, power, rows):
    handle = Pictures(network())
    fast = per_sample.accumulate(handle, range(7), rows, power, batch_size=3, way=way)
    expected = {name: torch.zeros_like(p) for name, p in handle.trainable()}
    handle.module.eval()
    for i in range(7):
        for value in rows(handle.score(handle.collate([i]))):
            handle.module.zero_grad()
            value.sum().backward(retain_graph=True)
            for name, parameter in handle.trainable():
                g = parameter.grad
                expected[name] += g**2 if power == "squared" else g.abs()
    for name, value in expected.items():
        torch.testing.assert_close(fast[name], value, rtol=1e-4, atol=1e-6 * value.abs().max().item())


@pytest.mark.parametrize("task", ["classes", "labels", "tokens"])
@pytest.mark.parametrize("way", ["layers", "vmap", "loop"])
def test_every_way_serves_every_family(way, task):
    known = toy("core", task)
    examples = known.splits["forget"].examples
    one = per_sample.accumulate(known.original, examples, nll_rows, "squared", way=way)
    other = {name: torch.zeros_like(p) for name, p in known.original.trainable()}
    for example in examples:
        handle = known.original.copy()
        handle.score(handle.collate([example])).nll.sum().backward()
        for name, parameter in handle.trainable():
            other[name] += parameter.grad**2
    for name, value in other.items():
        torch.testing.assert_close(one[name], value, rtol=1e-4, atol=1e-9)


def test_a_parameter_without_a_rule_falls_back_to_vmap(monkeypatch):
    handle = Pictures(Sequence(own=True))
    with pytest.raises(per_sample.Unsupported):
        per_sample.accumulate(handle, range(7), nll_rows, "squared", way="layers")
    auto = per_sample.accumulate(handle, range(7), nll_rows, "squared")
    loop = per_sample.accumulate(handle, range(7), nll_rows, "squared", way="loop")
    for name, value in loop.items():
        torch.testing.assert_close(auto[name], value, rtol=1e-4, atol=1e-7)


def test_a_layer_used_twice_falls_back():
    layer = nn.Linear(24, 24)
    handle = Pictures(nn.Sequential(nn.Flatten(), nn.Linear(192, 24), layer, nn.Tanh(), layer, nn.Linear(24, 3)))
    auto = per_sample.accumulate(handle, range(7), nll_rows, "squared")
    loop = per_sample.accumulate(handle, range(7), nll_rows, "squared", way="loop")
    for name, value in loop.items():
        torch.testing.assert_close(auto[name], value, rtol=1e-4, atol=1e-6 * value.max().item())


def test_a_frozen_parameter_is_left_out_and_training_mode_comes_back():
    known = toy("core")
    handle = known.original.copy()
    handle.module[0].weight.requires_grad_(False)
    handle.module.train()
    result = per_sample.accumulate(handle, known.splits["forget"].examples, nll_rows, "squared")
    assert "0.weight" not in result and "0.bias" in result
    assert handle.module.training


def test_result_does_not_depend_on_the_batch_size():
    handle = Pictures(Residual())
    a, b = (per_sample.accumulate(handle, range(7), nll_rows, "squared", batch_size=n) for n in (2, 7))
    for name, value in a.items():
        torch.testing.assert_close(b[name], value, rtol=1e-4, atol=1e-6 * value.max().item())
