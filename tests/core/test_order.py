"""Order of examples: a pure function of seed and epoch, the same for any number of processes, resumable anywhere."""

import math

import numpy as np
import pytest

from mmunlearn.feed import forwards, part
from mmunlearn.order import Order, batches_per_epoch, share


def test_an_epoch_is_a_permutation_and_a_pure_function():
    for seed, stream, epoch in ((0, "retain", 0), (0, "retain", 1), (1, "retain", 0), (0, "forget", 0)):
        once = Order(50, seed, stream).epoch(epoch)
        assert list(range(50)) == sorted(once.tolist())
        assert np.array_equal(once, Order(50, seed, stream).epoch(epoch))
    others = ((0, "r", 0), (0, "r", 1), (1, "r", 0), (0, "f", 0))
    assert 4 == len({tuple(Order(50, seed, stream).epoch(epoch)) for seed, stream, epoch in others})
    assert np.array_equal(np.arange(5), Order(5, 0, "r", shuffle=False).epoch(3))


def test_a_slice_of_the_sequence_does_not_depend_on_where_reading_began():
    order = Order(7, 3, "retain")
    indices, epochs = order.take(0, 40)
    assert [i // 7 for i in range(40)] == epochs.tolist()
    for start in range(0, 30, 3):
        resumed, later = order.take(start, 10)
        assert np.array_equal(indices[start : start + 10], resumed)
        assert np.array_equal(epochs[start : start + 10], later)


def test_shared_permutations_cannot_be_changed():
    with pytest.raises(ValueError):
        Order(5, 0, "r").epoch(0)[0] = 9


@pytest.mark.parametrize("world", (1, 2, 4))
def test_the_global_batch_is_the_same_for_any_number_of_processes(world):
    batch = Order(40, 0, "retain").epoch(0)[:10]
    merged = np.concatenate([share(batch, rank, world) for rank in range(world)])
    assert sorted(batch.tolist()) == sorted(merged.tolist())
    cut = np.concatenate([batch[part(10, rank, world)] for rank in range(world)])
    assert np.array_equal(merged, cut)


def test_batches_per_epoch():
    assert [4, 3, 1, 1, 0] == [
        batches_per_epoch(10, 3), batches_per_epoch(10, 3, drop_last=True), batches_per_epoch(2, 3),
        batches_per_epoch(2, 3, drop_last=True), batches_per_epoch(0, 3),
    ]  # fmt: skip


@pytest.mark.parametrize("world", (1, 2, 3, 4))
@pytest.mark.parametrize("micro", (None, 1, 2, 3, 8))
@pytest.mark.parametrize("lengths", ((8,), (8, 8), (8, 1), (64, 3), (1, 1), (64, 7, 11), (5, 64, 2)))
def test_every_forward_sees_every_stream_and_every_example_equally_often(world, micro, lengths):
    slots = forwards(lengths, world, micro) * world
    for n in lengths:
        parts = [part(n, slot, slots) for slot in range(slots)]
        seen = np.bincount(np.concatenate(parts), minlength=n)
        assert 1 == len(set(seen.tolist()))
        assert min(len(p) for p in parts) >= 1
        if micro is not None:
            assert max(len(p) for p in parts) <= micro
    if micro is not None and max(lengths) >= slots:
        assert math.ceil(max(lengths) / (world * micro)) * world <= slots
    if lengths == (64, 3) and micro == 8:
        assert math.ceil(8 / world) * world == slots
