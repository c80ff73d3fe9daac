"""The original's outputs: cached, copied, or with adapters off; the same numbers, and no trace on the handle."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import nn

from mmunlearn.handle import View, weights_digest
from mmunlearn.reference import Reference
from mmunlearn.testing.tiny import TinyHandle, TinySettings, tiny_splits


def parts(task):
    settings = TinySettings(task=task)
    return TinyHandle(settings), tiny_splits(settings)


def moved(handle):
    with torch.no_grad():
        for parameter in handle.module.parameters():
            parameter.add_(0.3)


@pytest.mark.parametrize("task", ("classes", "labels", "tokens"))
@pytest.mark.parametrize("kind", ("cached", "frozen_copy"))
def test_gives_the_originals_record_after_the_handle_has_moved(task, kind):
    handle, splits = parts(task)
    reference = Reference(handle, kind)
    if kind == "cached":
        reference.fill([splits["forget"], splits["retain"]], batch_size=7)
    mixed = [splits["retain"][3], splits["forget"][5], splits["retain"][0]]
    expected = handle.score(handle.collate(mixed)).detached()
    moved(handle)
    got = reference.score(handle.collate(mixed))
    assert expected.family == got.family
    for a, b in zip(expected[:5], got[:5], strict=True):
        assert (a is None and b is None) or torch.allclose(a.double(), b.double(), atol=1e-6)
    assert not got.nll.requires_grad


def test_a_cache_refuses_views_and_unknown_targets():
    handle, splits = parts("classes")
    reference = Reference(handle, "cached")
    reference.fill([splits["forget"]])
    with pytest.raises(ValueError, match="evaluation views"):
        reference.score(handle.collate(splits["forget"][:2], View(0, np.zeros(2, dtype=int))))
    example = splits["forget"][0]
    with pytest.raises(KeyError):
        reference.score(handle.collate([example.with_target((example.target + 1) % 4)]))


def test_auto_takes_what_is_exact_for_the_streams():
    handle, _ = parts("classes")
    assert "cached" == Reference(handle, augmented=False).kind
    assert "frozen_copy" == Reference(handle, augmented=True).kind
    with pytest.raises(ValueError, match="adapters"):
        Reference(handle, "adapters_off")


class Adapted(nn.Sequential):
    """A network with an adapter that can be switched off."""

    def __init__(self, base, width):
        super().__init__(*base)
        self.adapter, self.on = nn.Linear(width, width), True

    @contextmanager
    def disable_adapter(self):
        self.on = False
        yield
        self.on = True

    def forward(self, x):
        return super().forward(x) if not self.on else super().forward(x + self.adapter(x))

    def __iter__(self):
        return iter([m for name, m in self.named_children() if name != "adapter"])


def test_adapters_off_keeps_every_layers_own_mode():
    settings = TinySettings(batch_norm=True)
    handle, splits = TinyHandle(settings), tiny_splits(settings)
    batch = handle.collate(splits["forget"][:4])
    expected = handle.score(batch).nll.detach()
    handle.module = Adapted(list(handle.module), settings.features)
    handle.module.train()
    list(handle.module)[1].eval()  # batch norm frozen, as in norm: frozen
    before, modes = weights_digest(handle.module), [m.training for m in handle.module.modules()]
    reference = Reference(handle)
    assert "adapters_off" == reference.kind
    assert torch.allclose(expected, reference.score(batch).nll)
    assert modes == [m.training for m in handle.module.modules()] and before == weights_digest(handle.module)
