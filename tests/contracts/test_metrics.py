"""Every metric that the registry finds passes the contract battery; the number of checks cannot shrink unseen."""

import pytest

from mmunlearn import registry
from mmunlearn.testing.metric_checks import checks
from mmunlearn.testing.params import counted, params

COMPONENTS = [component.load() for component in registry.components("metrics")]
CHECKS = params(COMPONENTS, checks)
FLOOR = 8  # checks a metric
LEAST = 25  # metrics


@pytest.mark.parametrize("check", CHECKS)
def test_contract(check):
    check.run()


def test_no_metric_has_fewer_checks_than_the_floor():
    counts = counted(CHECKS)
    assert {component.name() for component in COMPONENTS} == set(counts)
    assert min(counts.values()) >= FLOOR, counts
    assert len(counts) >= LEAST
