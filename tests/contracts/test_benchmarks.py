"""Every benchmark that the registry finds passes the contract battery; the number of checks cannot shrink unseen."""

import pytest

from mmunlearn import registry
from mmunlearn.testing.benchmark_checks import checks
from mmunlearn.testing.params import counted, params

COMPONENTS = [component.load() for component in registry.components("benchmarks")]
CHECKS = params(COMPONENTS, checks)
FLOOR = 12  # checks a benchmark; each variant of the splits adds four
LEAST = 9  # benchmarks


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MMUNLEARN_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("check", CHECKS)
def test_contract(check):
    check.run()


def test_no_benchmark_has_fewer_checks_than_the_floor():
    counts = counted(CHECKS)
    assert {component.title() for component in COMPONENTS} == set(counts)
    assert min(counts.values()) >= FLOOR, counts
    assert len(counts) >= LEAST
