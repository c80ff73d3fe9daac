"""Every attack the registry finds passes the contract battery; the number of checks cannot shrink unseen."""

from collections import Counter

import pytest

from mmunlearn import registry
from mmunlearn.testing.attack_checks import checks

ATTACKS = {(c.modality, c.name): c for c in registry.components("attacks")}
ALL = [(component, check) for component in ATTACKS.values() for check in checks(component.load())]
FLOOR = 9  # checks an attack: four that all share, and at least five of its kind


@pytest.mark.parametrize(("component", "check"), ALL, ids=[str(check) for _, check in ALL])
def test_contract(component, check, request):
    known = component.load().known_failures
    if check.name in known:
        request.applymarker(pytest.mark.xfail(reason=known[check.name], strict=True))
    check.run()


def test_no_attack_has_fewer_checks_than_the_floor(record_property):
    counts = Counter((component.modality, component.name) for component, _ in ALL)
    for (modality, name), count in sorted(counts.items()):
        record_property(f"checks_{modality}_{name}", count)
    assert set(ATTACKS) == set(counts)
    assert min(counts.values()) >= FLOOR
