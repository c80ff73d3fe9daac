"""Every method the registry finds passes the contract battery; the number of checks cannot shrink unseen."""

from collections import Counter

import pytest

from mmunlearn import registry
from mmunlearn.testing.method_checks import checks

METHODS = {(c.modality, c.name): c for c in registry.components("methods")}
ALL = [check for component in METHODS.values() for check in checks(component.load())]
FLOOR = 13  # checks a method; gradient methods and core methods have more


@pytest.mark.parametrize("check", ALL, ids=str)
def test_contract(check, request):
    component = next(c for (_, name), c in METHODS.items() if name == check.component)
    known = component.load().known_failures
    if check.name in known:
        request.applymarker(pytest.mark.xfail(reason=known[check.name], strict=True))
    check.run()


def test_no_method_has_fewer_checks_than_the_floor(record_property):
    counts = Counter(check.component for check in ALL)
    for name, count in sorted(counts.items()):
        record_property(f"checks_{name}", count)
    assert {name for _, name in METHODS} == set(counts)
    assert min(counts.values()) >= FLOOR
