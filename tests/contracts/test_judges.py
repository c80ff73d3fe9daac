"""Every judge that the registry finds fulfils the contract; how many checks ran is counted and has a floor."""

from collections import Counter

import pytest

from mmunlearn import registry
from mmunlearn.judges.base import is_concrete
from mmunlearn.testing.judge_checks import checks, missing_package

FLOOR = 12  # checks a judge
JUDGES = 10  # judges at least

COMPONENTS = [component.load() for component in registry.components("judges")]
CHECKS = [
    pytest.param(
        check,
        id=f"{check.component}: {check.name}",
        marks=[
            *(
                [pytest.mark.xfail(strict=True, reason=component.known_failures[check.name])]
                if check.name in component.known_failures
                else []
            ),
            pytest.mark.skipif(bool(missing_package(component)), reason=f"needs {component.check_needs}"),
        ],
    )
    for component in COMPONENTS
    for check in checks(component)
]


@pytest.mark.parametrize("check", CHECKS)
def test_contract(check):
    check.run()


def test_no_judge_is_left_out():
    counts = Counter(param.values[0].component for param in CHECKS)
    assert len(counts) >= JUDGES
    assert all(is_concrete(component) for component in COMPONENTS)
    assert {component.name() for component in COMPONENTS} == set(counts)
    assert min(counts.values()) >= FLOOR, counts
