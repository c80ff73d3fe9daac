"""A small real classifier (convolutions, batch norm, linear head) over 16-pixel pictures that it can learn by heart."""

import copy
import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmunlearn.vision.handle import ClassifierSettings, VisionHandle
from mmunlearn.vision.images import ImageTable
from PIL import Image
from torch import nn

from mmunlearn.data import Example, ImageRef, Role, Split, union
from mmunlearn.handle import View
from mmunlearn.order import Order
from mmunlearn.run import Run
from mmunlearn.seeds import derive, generator

SIZE_PX = 16
CLASSES = 4


class Net(nn.Module):
    """Stem, two stages and a linear head, named as a residual network's."""

    def __init__(self, outputs):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.layer1 = nn.Sequential(nn.Conv2d(8, 12, 3, stride=2, padding=1), nn.BatchNorm2d(12), nn.ReLU())
        self.layer2 = nn.Sequential(nn.Conv2d(12, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.fc = nn.Linear(256, outputs)

    def forward(self, x):
        return self.fc(self.layer2(self.layer1(self.bn1(self.conv1(x)).relu())).flatten(1))


class ConvHandle(VisionHandle):
    """The vision handle around `Net`; its library models take seconds to import."""

    def __init__(self, head="classes", seed=0):
        self.settings = ClassifierSettings(head=head, classes=CLASSES, size_px=SIZE_PX, channels_last=False)
        self.module = _network(seed)
        self.images = ImageTable(SIZE_PX)

    def fresh(self, seed):
        twin = copy.copy(self)
        twin.module = _network(seed)
        return twin


def _network(seed):
    with torch.random.fork_rng():
        torch.manual_seed(derive(seed, "init"))
        return Net(CLASSES).eval()


def picture(draw):
    """A random picture of four by four coloured squares."""
    squares = draw.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(squares.repeat(SIZE_PX // 4, 0).repeat(SIZE_PX // 4, 1)).save(file, "PNG")
    return ImageRef(content=file.getvalue())


def make_splits(head="classes", *, forget=12, retain=24, holdout=12, seed=0):
    """Pictures with random targets: what the network knows of them it has by heart."""
    draw = generator(seed, "pictures")

    def make(name, role, n):
        def target():
            drawn = draw.integers(0, 2, CLASSES) if head == "labels" else draw.integers(CLASSES)
            return tuple(int(v) for v in drawn) if head == "labels" else int(drawn)

        examples = (Example(id=f"conv/{name}/{i:03d}", image=picture(draw), target=target()) for i in range(n))
        return Split(name, role, tuple(examples))

    parts = {"forget": make("forget", Role.FORGET, forget), "retain": make("retain", Role.RETAIN, retain)}
    parts["calibration"] = make("calibration", Role.HOLDOUT, holdout)
    parts["train"] = union("train", Role.TRAIN, parts["forget"], parts["retain"])
    return parts


def memorise(handle, split, steps=60):
    """Fit `split` by heart (evaluation views) with full-batch Adam, in place."""
    optimiser = torch.optim.Adam(handle.module.parameters(), lr=0.01)
    batch = handle.collate(split.examples)
    handle.module.train()
    for _ in range(steps):
        optimiser.zero_grad()
        scored = handle.score(batch)
        (scored.nll.sum() / scored.count.sum()).backward()
        optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    handle.module.eval()
    return handle


@torch.no_grad()
def nll(handle, split):
    """Mean loss per item, in nats."""
    handle.module.eval()
    scored = handle.score(handle.collate(split.examples))
    return float(scored.nll.sum() / scored.count.sum())


def weights(handle):
    """Copies of all parameters and buffers."""
    return {name: tensor.detach().clone() for name, tensor in handle.module.state_dict().items()}


def largest_difference(a, b):
    """Largest absolute difference of two handles' parameters and buffers."""
    a, b = (x if isinstance(x, dict) else weights(x) for x in (a, b))
    assert a.keys() == b.keys()
    return max(float((a[k].double() - b[k].double()).abs().max()) for k in a)


def epoch_batches(handle, split, stream, epoch, size, *, seed, augment=True):
    """Batches of one epoch in the order and the views that the engine documents."""
    order = Order(len(split), seed, stream).epoch(epoch)
    for start in range(0, len(split), size):
        chosen = order[start : start + size]
        view = View(seed, np.full(len(chosen), epoch)) if augment else None
        yield handle.collate([split[int(i)] for i in chosen], view)


def split_of(examples):
    """A split of any examples."""
    return Split("examples", Role.TRAIN, tuple(examples))


def endless_batch(handle, split, stream, index, size, *, seed, change=None, augment=True):
    """Batch number `index` of a stream that does not drive the phase; `change` relabels (example, epoch)."""
    chosen, epochs = Order(len(split), seed, stream).take(index * size, size)
    examples = [split[int(i)] for i in chosen]
    if change is not None:
        examples = [change(example, int(epoch)) for example, epoch in zip(examples, epochs, strict=True)]
    return handle.collate(examples, View(seed, epochs) if augment else None)


@pytest.fixture
def kit(tmp_path):
    """Functions of this file; `kit.trained(head)` is a fresh copy of a model that knows its training set by heart."""

    def trained(head="classes"):
        if head not in _TRAINED:
            data = make_splits(head)
            _TRAINED[head] = (memorise(ConvHandle(head), data["train"]), data)
        handle, data = _TRAINED[head]
        return handle.copy(), data

    def run(name="run", seed=0, **train):
        return Run.scratch(tmp_path / name, seed, device="cpu", **train)

    return SimpleNamespace(
        handle=ConvHandle, splits=make_splits, memorise=memorise, nll=nll, weights=weights, trained=trained, run=run,
        split_of=split_of, largest_difference=largest_difference, epoch_batches=epoch_batches,
        endless_batch=endless_batch,
    )  # fmt: skip


_TRAINED = {}
