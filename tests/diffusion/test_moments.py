import numpy as np
import pytest
from mmunlearn.diffusion.moments import Moments, frechet, kernel_distance
from scipy import linalg


def draw(n, d, seed, shift=0.0):
    rng = np.random.default_rng(seed)
    return np.abs(rng.normal(size=(n, d)) @ rng.normal(size=(d, d))) + shift


def test_moments_are_numpys_mean_and_covariance():
    x = draw(40, 6, 0)
    np.testing.assert_allclose(x.mean(0), Moments.of(x).mean, rtol=1e-12)
    np.testing.assert_allclose(np.cov(x, rowvar=False), Moments.of(x).covariance, rtol=1e-10)


def test_sets_are_joined_and_taken_out_of_one_another():
    x, y = draw(30, 5, 1), draw(12, 5, 2)
    both = Moments.of(x) + Moments.of(y)
    np.testing.assert_allclose(np.cov(np.concatenate([x, y]), rowvar=False), both.covariance, rtol=1e-10)
    np.testing.assert_allclose(np.cov(x, rowvar=False), (both - Moments.of(y)).covariance, rtol=1e-9)


@pytest.mark.parametrize(("n", "d"), [(50, 8), (10, 30)])  # also fewer features than dimensions
def test_frechet_distance_is_that_of_the_general_matrix_root(n, d):
    x, y = draw(n, d, 3), draw(n + 5, d, 4, shift=0.5)
    c1, c2 = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = linalg.sqrtm(c1 @ c2).real
    gap = x.mean(0) - y.mean(0)
    expected = gap @ gap + np.trace(c1) + np.trace(c2) - 2 * np.trace(root)
    assert expected == pytest.approx(frechet(Moments.of(x), Moments.of(y)), rel=1e-6)


@pytest.mark.parametrize(("n", "d"), [(50, 8), (10, 30)])
def test_equal_sets_are_at_distance_zero(n, d):
    x = draw(n, d, 5)
    scale = np.trace(np.cov(x, rowvar=False))
    assert 0 <= frechet(Moments.of(x), Moments.of(x[::-1])) < 1e-7 * scale


def test_gaussians_of_one_dimension_by_hand():
    x, y = np.array([[0.0], [2.0]]), np.array([[5.0], [9.0]])  # means 1, 7; variances 2, 8
    assert 36 + 2 + 8 - 2 * 4 == pytest.approx(frechet(Moments.of(x), Moments.of(y)))


def test_kernel_distance_is_that_of_loops():
    x, y = draw(5, 3, 6), draw(7, 3, 7)

    def kernel(a, b):
        return (sum(p * q for p, q in zip(a, b, strict=True)) / 3 + 1) ** 3

    xx = sum(kernel(x[i], x[j]) for i in range(5) for j in range(5) if i != j) / 20
    yy = sum(kernel(y[i], y[j]) for i in range(7) for j in range(7) if i != j) / 42
    xy = sum(kernel(a, b) for a in x for b in y) / 35
    assert xx + yy - 2 * xy == pytest.approx(kernel_distance(x, y))
