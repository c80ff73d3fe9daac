import threading

import pytest

from mmunlearn.threads import SLICE, mapped


@pytest.mark.parametrize("count", [0, 1, 2, SLICE, 5 * SLICE + 3])
def test_results_come_in_the_order_of_the_items(count):
    assert [n * n for n in range(count)] == mapped(lambda n: n * n, range(count))


def test_the_first_error_in_order_is_raised():
    def fails(n):
        if n in (40, 70):
            raise ValueError(str(n))
        return n

    with pytest.raises(ValueError, match=r"^40$"):
        mapped(fails, range(100))


def test_several_threads_work_at_once():
    """Each of two items waits for the other: one thread alone would not come to an end."""
    both = threading.Barrier(2, timeout=30)
    assert [0, 1] == sorted(mapped(lambda n: (both.wait(), n)[1], [0, 1]))
