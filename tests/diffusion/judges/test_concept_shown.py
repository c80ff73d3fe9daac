from mmunlearn.diffusion.judges.concept_shown import ConceptShown

from mmunlearn.data import Example
from mmunlearn.judges.base import Item
from mmunlearn.testing.picture_world import picture_path


def item(path, key="x", **tags):
    return Item(Example(id=key, prompt="p", tags=tags), {"image": str(path)})


def test_only_what_was_forgotten_counts(heads_settings):
    judge = ConceptShown(heads_settings.model_dump())
    path, both = picture_path("Dots", "Disc", 1), {"style": "Dots", "object": "Square"}
    verdicts = judge.grade([item(path, kind="style", **both), item(path, kind="object", **both),
                            item(path, kind="pair", **both)])  # fmt: skip
    assert [1.0, 0.0, 0.0] == [verdict.value for verdict in verdicts]
    assert {"Dots/Disc"} == {verdict.label for verdict in verdicts}


def test_without_words_for_what_was_forgotten_nothing_is_scored(heads_settings):
    path = picture_path("Dots", "Disc", 1)
    judge = ConceptShown(heads_settings.model_dump())
    graded = judge.grade([item(path, style="Dots"), item(path, kind="object", style="Dots"), item(path, kind="brand")])
    assert [False] * 3 == [verdict.scored for verdict in graded]
    fixed = ConceptShown(heads_settings.model_dump() | {"kind": "style"})
    assert 1 == fixed.grade([item(path, style="Dots")])[0].value
    assert judge.key(item(path, style="Dots")) != fixed.key(item(path, style="Dots"))
