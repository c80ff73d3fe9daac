"""Named streams: pure functions of root and names, uniform, independent of batch and order, no global generator."""

import hashlib
import random

import numpy as np
import torch

from mmunlearn.seeds import derive, generator, uniforms

KEYS = np.array([derive(0, f"example/{i}") for i in range(4000)])


def test_derive_is_stable_and_tells_names_apart():
    assert 0 <= derive(0, "a") < 2**63
    assert derive(0, "data", 1) == derive(0, "data", 1)
    assert 6 == len({derive(0, "ab"), derive(0, "a", "b"), derive(1, "ab"), derive(0, "ba"), derive(0), derive(10)})
    digest = hashlib.blake2b(b"7\x1fdata\x1fretain\x1f3", digest_size=8).digest()  # stored runs rely on this
    assert int.from_bytes(digest, "little") % 2**63 == derive(7, "data", "retain", 3)


def test_draws_do_not_depend_on_batch_or_order():
    whole = uniforms(KEYS, 5, 8)
    assert np.array_equal(whole[10:20], uniforms(KEYS[10:20], 5, 8))
    assert np.array_equal(whole[::-1], uniforms(KEYS[::-1], 5, 8))
    assert np.array_equal(whole[:, :3], uniforms(KEYS, 5, 3))


def test_draws_are_uniform_and_uncorrelated():
    from scipy import stats

    for stream in (0, 1, derive(3, "augment", 4)):
        u = uniforms(KEYS, stream, 4)
        assert 0 <= u.min() and u.max() < 1
        for column in u.T:
            assert stats.kstest(column, "uniform").pvalue > 1e-4
        between = np.corrcoef(np.vstack([u.T, uniforms(KEYS, stream + 1, 4).T, np.roll(u, 1, 0).T]))
        assert np.abs(between - np.eye(12)).max() < 0.08
    small = uniforms(np.arange(4000), 2, 1)[:, 0]  # keys that differ in few bits
    assert stats.kstest(small, "uniform").pvalue > 1e-4


def test_streams_differ():
    assert not np.intersect1d(uniforms(KEYS, 1, 2), uniforms(KEYS, 2, 2)).size
    assert generator(0, "a").random() != generator(0, "b").random()


def test_no_global_generator_is_touched():
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    uniforms(KEYS, derive(0, "x"), 3)
    generator(0, "x").permutation(9)
    assert before[0] == random.getstate()
    assert before[1] == np.random.get_state()[1].tolist()
    assert torch.equal(before[2], torch.get_rng_state())
