"""Altered pictures bring back what hides behind the exact picture; draws belong to the goal."""

from mmunlearn.vlm.alterations import ALTERATIONS
from mmunlearn.vlm.attacks.altered_image import AlteredImage


def test_what_hides_behind_the_exact_picture_comes_back(scripted):
    own = {goal.image.digest for goal in scripted.goals}
    handle = scripted.hiding(lambda example: example.image.digest in own)

    outcomes = scripted.attacked(AlteredImage(), handle)

    assert [0.0] * 6 == [outcome.clean.value for outcome in outcomes]
    assert [1.0] * 6 == [outcome.attacked.value for outcome in outcomes]
    assert [0.0] * 6 == [outcome.attacked.value for outcome in scripted.attacked(AlteredImage(), scripted.never)]


def test_every_kind_and_level_is_a_candidate_the_mildest_first(scripted):
    (outcome,) = scripted.attacked(AlteredImage(), scripted.never, scripted.goals[:1])

    assert [f"{kind} {level}" for level in (1, 2, 3) for kind in ALTERATIONS] == [t.origin for t in outcome.tries]
    assert len({t.candidate.image.digest for t in outcome.tries}) == 15
    assert {scripted.goals[0].prompt} == {t.candidate.prompt for t in outcome.tries}


def test_the_seed_decides_the_draw(scripted):
    attack = AlteredImage({"kinds": ("noise",), "levels": (1,), "candidates": 1})

    one, two, other = (
        scripted.attacked(attack, scripted.never, scripted.goals[:1], seed)[0].tries[0].candidate.image.digest
        for seed in (0, 0, 1)
    )

    assert one == two != other


def test_a_goal_without_a_picture_is_refused_and_not_asked_again(scripted):
    from dataclasses import replace

    bare = replace(scripted.goals[0], image=None)

    (outcome,) = scripted.attacked(AlteredImage(), scripted.never, [bare])

    (only,) = outcome.tries
    assert not only.verdict.scored
    assert "nothing to change" in only.verdict.explanation
