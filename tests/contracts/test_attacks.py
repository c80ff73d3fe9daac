"""Every attack that the registry finds passes the contract battery; the number of checks cannot shrink unseen."""

import pytest

from mmunlearn import registry
from mmunlearn.testing.attack_checks import checks
from mmunlearn.testing.params import counted, params

COMPONENTS = [component.load() for component in registry.components("attacks")]
CHECKS = params(COMPONENTS, checks)
FLOOR = 9  # checks an attack: four that all share, and at least five of its kind


@pytest.mark.parametrize("check", CHECKS)
def test_contract(check):
    check.run()


def test_no_attack_has_fewer_checks_than_the_floor():
    counts = counted(CHECKS)
    assert {component.name() for component in COMPONENTS} == set(counts)
    assert min(counts.values()) >= FLOOR, counts
