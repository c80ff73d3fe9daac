"""Every judge that the registry finds passes the contract battery; the number of checks cannot shrink unseen."""

import pytest

from mmunlearn import registry
from mmunlearn.testing.judge_checks import checks, missing_package
from mmunlearn.testing.params import counted, params

COMPONENTS = [component.load() for component in registry.components("judges")]
CHECKS = params(COMPONENTS, checks, missing_package)
FLOOR = 12  # checks a judge
LEAST = 10  # judges


@pytest.mark.parametrize("check", CHECKS)
def test_contract(check):
    check.run()


def test_no_judge_has_fewer_checks_than_the_floor():
    counts = counted(CHECKS)
    assert {component.name() for component in COMPONENTS} == set(counts)
    assert min(counts.values()) >= FLOOR, counts
    assert len(counts) >= LEAST
