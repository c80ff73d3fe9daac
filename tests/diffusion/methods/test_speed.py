"""SPEED: its formula step by step, what stays exactly, and the filter of retained rows."""

import numpy as np
import pytest
import torch
from mmunlearn.diffusion.methods.speed import Speed, above_mean, centres, noisy, null_space
from mmunlearn.diffusion.toy import toy_handle

PLAIN = {"augment": 0, "filter": False, "threshold": 1e-6, "retain_scale": 0.05}


def last(handle, text):
    """State of the text's last token."""
    ids = handle.tokenise([text]).ids[0][0].tolist()
    return handle.encode([text]).states[0, ids.index(handle.tokenizer.eos_token_id) - 1].double()


def values(handle):
    return {n: m.weight.detach().double() for n, m in handle.context_layers() if n.endswith("to_v")}


def test_formula(task, run):
    handle, splits = task()
    c, g = last(handle, "Van Gogh"), last(handle, "Photo")
    held = torch.stack([last(handle, text) for text in ("Ink", "Photo", "Dogs", "Trees")])
    gram = sum(torch.outer(row, row) for row in held) / 4
    values_, vectors = np.linalg.eigh(gram.numpy())
    p = sum(np.outer(v, v) for s, v in zip(values_, vectors.T, strict=True) if s < 1e-6)
    s_tt, s_at = np.outer(c, c), np.outer(g, c)
    eye = np.eye(len(c))
    m = np.linalg.inv(s_tt @ p + 0.05 * eye)
    from mmunlearn.seeds import derive

    k = centres(handle.encode([""]).states[0].double(), derive(run.seed, "sample", "speed", "states")).numpy()
    inner = np.linalg.inv(k.T @ p @ m @ k + 1e-3 * np.eye(4))
    factor = (s_at - s_tt) @ p @ (eye - m @ k @ inner @ k.T @ p) @ m
    expected = {name: w.numpy() @ (eye + factor) for name, w in values(handle).items()}
    Speed({**PLAIN, "still": 1e-3}).apply(handle, splits, run)
    for name, w in values(handle).items():
        np.testing.assert_allclose(w.numpy(), expected[name], atol=1e-4)


def test_retained_rows_and_the_empty_prompt_stay_and_the_concept_moves_to_the_surrogate(task, run):
    handle, splits = task()
    before = values(handle)
    Speed(PLAIN).apply(handle, splits, run)
    c, g = last(handle, "Van Gogh"), last(handle, "Photo")
    start = handle.encode([""]).states[0, 0].double()
    for name, w in values(handle).items():
        for text in ("Ink", "Photo", "Dogs", "Trees"):
            torch.testing.assert_close(before[name] @ last(handle, text), w @ last(handle, text), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(before[name] @ start, w @ start, atol=1e-5, rtol=1e-4)
        goal = before[name] @ g
        assert (w @ c - goal).norm() < (before[name] @ c - goal).norm()


def test_only_the_maps_that_are_asked_for_change(task, run):
    for maps in ("k", "v", "kv"):
        handle, splits = task()
        before = {n: m.weight.detach().clone() for n, m in handle.context_layers()}
        Speed({**Speed.toy, "maps": maps}).apply(handle, splits, run)
        changed = {n[-1] for n, m in handle.context_layers() if not torch.equal(before[n], m.weight)}
        assert set(maps) == changed


def test_filter_keeps_rows_that_move_more_than_the_mean():
    rows = torch.diag(torch.tensor([1.0, 2.0, 6.0], dtype=torch.float64))
    assert torch.equal(rows[2:], above_mean(rows, torch.eye(3, dtype=torch.float64)))
    assert torch.equal(rows, above_mean(rows, torch.zeros(1, 3, dtype=torch.float64)))


def test_noise_lies_where_the_map_hears_least():
    weight = torch.diag(torch.tensor([3.0, 2.0, 0.5], dtype=torch.float64))
    rows = torch.ones(2, 3, dtype=torch.float64)
    draw = torch.Generator().manual_seed(0)
    (made,) = noisy(rows, weight, torch.eye(3, dtype=torch.float64), 4, draw)
    assert 0 < len(made) < 8
    assert torch.equal(torch.ones(len(made), 2, dtype=torch.float64), made[:, :2])
    assert (made[:, 2] != 1).all()


def test_null_space_projects_onto_small_directions():
    expected = torch.diag(torch.tensor([0.0, 1.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(
        expected, null_space(torch.diag(torch.tensor([2.0, 0.05, 0.0], dtype=torch.float64)), 0.1)
    )


@pytest.mark.parametrize("family", ["sd3", "flux"])
def test_transformers(family, task, run):
    handle, splits = toy_handle(name=f"scratch/{family}", architecture={}, text_length=40), task()[1]
    before = {n: m.weight.detach().clone() for n, m in handle.context_layers()}
    Speed(Speed.toy).apply(handle, splits, run)
    assert any(not torch.equal(before[n], m.weight) for n, m in handle.context_layers())
    assert all(torch.isfinite(m.weight).all() for _, m in handle.context_layers())
