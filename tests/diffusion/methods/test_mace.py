"""MACE: closed form and fusion token by token, the attention loss by hand, masks, and what training lowers."""

import numpy as np
import pytest
import torch
from mmunlearn.diffusion.methods._closed_form import Equations
from mmunlearn.diffusion.methods.mace import Mace, attended, fuse, importance, norms, own_masks
from mmunlearn.diffusion.toy import toy_handle
from PIL import Image

from mmunlearn.errors import UserError


def weights(handle):
    return {name: layer.weight.detach().double().numpy() for name, layer in handle.context_layers()}


def test_closed_form_token_by_token(task, run):
    handle, splits = task()
    eye = np.eye(handle.encode([""]).states.shape[-1])
    left, right = 0.3 * eye, 0.3 * eye
    for example in splits["concept"]:
        c, g = handle.encode([example.prompt, example.target]).states.double().numpy()
        mine = [i for i in range(len(c)) if i not in (5, 6)]  # start, a, dogs, image, in, van, gogh
        theirs = [i for i in range(len(c)) if i != 5]
        for i, j in zip(mine, theirs, strict=False):
            left, right = left + np.outer(g[j], c[i]), right + np.outer(c[i], c[i])
    for example in splits["anchor"]:
        for row in handle.encode([example.prompt]).states[0].double().numpy():
            left, right = left + 0.2 * np.outer(row, row), right + 0.2 * np.outer(row, row)
    expected = {name: w @ left @ np.linalg.inv(right) for name, w in weights(handle).items()}
    Mace({"keep": 0.3, "fuse_keep": 0.3, "preserve_scale": 0.2, "iterations": 0}).apply(handle, splits, run)
    for name, w in weights(handle).items():
        np.testing.assert_allclose(w, expected[name], atol=1e-5)


def test_fusion_row_by_row():
    draw = np.random.default_rng(0)
    layer = torch.nn.Linear(4, 3, bias=False)
    w = layer.weight.detach().double().numpy()
    changes = [draw.standard_normal((3, 4)) for _ in range(2)]
    rows = [draw.standard_normal((n, 4)) for n in (3, 5)]
    held = draw.standard_normal((2, 4))
    left, right = 0.4 * w, 0.4 * np.eye(4)
    for change, part in zip(changes, rows, strict=True):
        for c in part:
            left, right = left + np.outer((w + change) @ c, c), right + np.outer(c, c)
    for r in held:
        left, right = left + 0.6 * np.outer(w @ r, r), right + 0.6 * np.outer(r, r)
    equations = Equations(4, 0.4)
    equations.hold(torch.from_numpy(held), 0.6)
    fuse({"a": layer}, equations, [{"a": torch.from_numpy(x)} for x in changes], [torch.from_numpy(x) for x in rows])
    np.testing.assert_allclose(layer.weight.detach().numpy(), left @ np.linalg.inv(right), atol=1e-6)


def test_loss_by_hand():
    draw = torch.Generator().manual_seed(0)
    records = {"a": torch.rand(2, 3, 16, 7, generator=draw), "b": torch.rand(2, 3, 4, 7, generator=draw)}
    mask = torch.zeros(4, 4)
    mask[0:2, 2:4] = 1
    layers = [type("Layer", (), {"name": name}) for name in records]
    expected = 0.0
    for row, span in enumerate(([2, 3], [5])):
        for name, cells in (("a", [2, 3, 6, 7]), ("b", [1])):
            expected += (
                sum(
                    records[name][row, h, cell, token].item() ** 2 for h in range(3) for cell in cells for token in span
                )
                ** 0.5
            )
    assert expected == pytest.approx(norms(records, layers, [slice(2, 4), slice(5, 6)], [mask, mask]).item(), rel=1e-6)


def test_times_lie_between_the_bounds():
    p = importance()
    assert 1 == pytest.approx(p.sum())
    assert 0.85 < p[200:400].sum()
    assert p[300] > 100 * p[700]
    ratio = p[250] / p[150]
    assert ratio == pytest.approx(
        (1 / (1 + np.exp(-2.5)) - 1 / (1 + np.exp(7.5))) / (1 / (1 + np.exp(2.5)) - 1 / (1 + np.exp(12.5)))
    )


def test_training_lowers_the_attention_of_the_concepts_words(task, run):
    handle, splits = task()
    seen = list(zip(splits["forget"][:4], own_masks(handle, splits["forget"][:4], "Van Gogh", 0.5), strict=True))

    def loss(model):
        with torch.no_grad():
            return attended(model, seen, "Van Gogh", np.random.default_rng(0)).item()

    settings = {"keep": 1e6, "fuse_keep": 1e-4, "preserve_scale": 0.0, "lr": 0.05, "batch_size": 4}
    before = loss(handle)
    trained = Mace({**settings, "iterations": 8}).apply(handle.copy(), splits, run)
    assert loss(trained) < before
    still = Mace({**settings, "iterations": 0}).apply(handle.copy(), splits, run)
    assert before == pytest.approx(loss(still), rel=1e-3)


def test_own_masks_cover_the_strongest_cells(task):
    handle, splits = task()
    for mask in own_masks(handle, splits["forget"][:2], "Van Gogh", 0.5):
        assert (8, 8) == tuple(mask.shape)
        assert 0 < mask.mean() < 1


def test_mask_files(task, run, tmp_path):
    handle, splits = task()
    with pytest.raises(UserError, match="no mask"):
        Mace({"masks": str(tmp_path)}).apply(handle, splits, run)
    for example in splits["forget"]:
        Image.fromarray(np.full((16, 16, 3), 255, np.uint8)).save(tmp_path / (example.id.replace("/", "_") + ".png"))
    before = weights(handle)
    Mace({**Mace.toy, "masks": str(tmp_path)}).apply(handle, splits, run)
    assert any((before[name] != w).any() for name, w in weights(handle).items())


def test_transformers_are_refused(task, run):
    with pytest.raises(UserError, match="mace"):
        Mace().apply(toy_handle(name="scratch/sd3", architecture={}), task()[1], run)
