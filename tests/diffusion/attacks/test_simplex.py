"""Projections against sorting, bisection and a solver; draws against a loop."""

import numpy as np
import pytest
import torch
from mmunlearn.diffusion.attacks._simplex import by_bisection, drawn, onto_simplex
from scipy.optimize import brentq

ROWS = {
    "wide": torch.randn(4, 3, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64),
    "flat": torch.full((2, 2, 40), 1 / 40, dtype=torch.float64),
    "corner": torch.eye(6, dtype=torch.float64)[:, None] * 5,
    "near": torch.rand(5, 1, 300, generator=torch.Generator().manual_seed(1), dtype=torch.float64) / 150,
}


def sorted_projection(row):
    """Held, Wolfe and Crowder 1974, by sorting."""
    ordered = np.sort(row)[::-1]
    sums = np.cumsum(ordered) - 1
    last = max(j for j in range(len(row)) if ordered[j] - sums[j] / (j + 1) > 0)
    return np.maximum(row - sums[last] / (last + 1), 0)


@pytest.mark.parametrize("name", ROWS)
def test_exact_projection_is_that_of_sorting_and_of_a_root_finder(name):
    u = ROWS[name]
    made = onto_simplex(u).reshape(-1, u.shape[-1]).numpy()
    for row, got in zip(u.reshape(-1, u.shape[-1]).numpy(), made, strict=True):
        assert np.abs(sorted_projection(row) - got).max() < 1e-12
        mu = brentq(lambda m, row=row: np.clip(row - m, 0, 1).sum() - 1, row.min() - 1, row.max(), xtol=1e-14)
        assert np.abs(np.clip(row - mu, 0, 1) - got).max() < 1e-10


def literal_bisection(a, xi=1e-5):
    """The reference's loop over one row (diffusion sheet 2.3)."""
    clipped = a.clamp(0, 1)
    if abs(clipped.sum().item() - 1) <= xi:
        return clipped
    low, high = (a.min() - 1).item(), a.max().item()
    middle = None
    while abs(high - low) > xi:
        middle = (high + low) / 2
        excess = ((a - middle).clamp(0, 1).sum() - 1).item()
        if excess == 0:
            break
        if excess < 0:
            high = middle
        else:
            low = middle
    return (a - middle).clamp(0, 1)


@pytest.mark.parametrize("name", ROWS)
def test_bisection_of_all_rows_is_the_loop_over_each_and_near_the_exact_one(name):
    u = ROWS[name]
    together = by_bisection(u)
    apart = torch.stack([literal_bisection(row) for row in u.reshape(-1, u.shape[-1])]).view_as(u)
    assert torch.equal(apart, together)
    assert (together - onto_simplex(u)).abs().max() <= 1e-5


def test_draws_are_entries_by_inverse_of_their_cumulated_weights():
    u = torch.tensor([[[0.25, 0.0, 0.5, 0.25]], [[0.0, 0.0, 0.0, 2.0]]])
    for uniform, expected in ((0.0, [0, 3]), (0.26, [2, 3]), (0.74, [2, 3]), (0.76, [3, 3]), (0.999999, [3, 3])):
        assert expected == drawn(u, torch.full((2, 1), uniform)).flatten().tolist()


def test_draws_follow_the_weights():
    u = torch.tensor([0.1, 0.6, 0.3]).expand(4000, 3)
    uniform = torch.rand(4000, generator=torch.Generator().manual_seed(0))
    share = torch.bincount(drawn(u, uniform), minlength=3) / 4000
    assert (share - torch.tensor([0.1, 0.6, 0.3])).abs().max() < 0.03


def test_draws_from_many_words_are_those_of_a_search_through_all_weights():
    made = torch.Generator().manual_seed(3)
    u = torch.rand(6, 2, 1000, generator=made) * (torch.rand(6, 2, 1000, generator=made) < 0.02)  # most weigh nothing
    uniform = torch.rand(6, 2, generator=made, dtype=torch.float64)
    for row, r, got in zip(u.flatten(0, 1), uniform.flatten(), drawn(u, uniform).flatten(), strict=True):
        sums = np.cumsum(row.double().numpy())
        assert int(np.searchsorted(sums, r.item() * sums[-1], side="right")) == int(got)
        assert row[got] > 0


def test_projection_of_many_words_is_that_of_sorting_also_where_one_run_holds_all_that_is_left():
    u = torch.full((1, 2, 5000), -0.2, dtype=torch.float64)
    u[0, 0, 64:96] = torch.linspace(0.1, 0.4, 32, dtype=torch.float64)
    u[0, 1, ::40] = torch.linspace(0.0, 0.05, 125, dtype=torch.float64)
    for row, got in zip(u[0], onto_simplex(u)[0], strict=True):
        assert np.abs(sorted_projection(row.numpy()) - got.numpy()).max() < 1e-12
