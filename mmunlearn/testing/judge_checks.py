"""Contract of every judge, as public checks: `for check in checks(MyJudge): check.run()`.

The checks use the judge's own `samples` (responses with the label that each must get) under its `check_settings`;
settings that are marked as a file or folder (pictures, weights) get small ones made from the drawn pictures of
`mmunlearn.testing.picture_world`. A judge that asks a model
is checked through the rule in the model's place; what a model may answer is checked apart, see
`mmunlearn.judges._template`.
"""

import importlib.util
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmunlearn.data import CLIP_FILE, CLIP_MODEL, IMAGE_CLASSIFIER, IMAGE_WEIGHTS, PICTURES, PROMPT_VECTORS, Example
from mmunlearn.errors import UserError
from mmunlearn.judges.base import Item, Judge, Verdict
from mmunlearn.testing.check import Check
from mmunlearn.testing.picture_models import classifier_folder, network_file, prompt_vectors
from mmunlearn.testing.picture_world import NUMBERS, world
from mmunlearn.testing.sample_pictures import sample_picture
from mmunlearn.testing.tiny_clip import tiny_clip

SAME = 1e-5  # values of judges that encode text in batches differ in the last bits


def checks(component: type[Judge]) -> list[Check]:
    """All checks of a judge's class, to be run in any order."""
    named = (
        ("samples get their labels", _samples),
        ("labels are offered, values finite or NaN", _offered),
        ("a response that is no text is unscored", _garbage),
        ("without what it compares with nothing is scored", _nothing_to_grade),
        ("the order of items does not matter", _order),
        ("a batch gives the verdicts of single calls", _singles),
        ("a cache hit asks nothing", _cache),
        ("a label that is not offered becomes unscored", _not_offered),
        ("another version misses the cache", _version),
        ("another response misses the cache", _response),
        ("unknown settings are refused", _settings),
        ("constructible from its own settings", _round_trip),
    )
    return [Check(component.name(), name, lambda run=run: run(component)) for name, run in named]  # type: ignore[misc]


def missing_package(component: type[Judge]) -> str:
    """Name of the optional package that a judge's checks need and this machine lacks, "" when none."""
    absent = component.check_needs and importlib.util.find_spec(component.check_needs) is None
    return component.check_needs if absent else ""


def made(component: type[Judge]) -> Judge:
    """The judge under its `check_settings`."""
    files = {
        name: str(_FILES[mark]()) for name, field in component.Config.model_fields.items()
        for mark in field.metadata if mark in _FILES
    }  # fmt: skip
    return component({**files, **component.check_settings})


# What stands for a setting that is a file or folder, by the mark of its type.
_FILES: Mapping[Any, Callable[[], Path]] = {
    PICTURES: world, IMAGE_CLASSIFIER: classifier_folder, IMAGE_WEIGHTS: network_file,
    CLIP_MODEL: lambda: tiny_clip().model, CLIP_FILE: lambda: tiny_clip().weights, PROMPT_VECTORS: prompt_vectors,
}  # fmt: skip


def items_of(component: type[Judge]) -> list[Item]:
    """The judge's samples as items."""
    return [
        Item(
            Example(id=f"sample/{i}", prompt=sample.prompt, target=sample.target, tags=sample.tags),
            _fields(component, sample.text, i + 1),
        )
        for i, sample in enumerate(component.samples)
    ]


def _fields(component: type[Judge], text: str, number: int) -> dict[str, str]:
    """Fields of a response: the text, or the picture that it names."""
    if component.reads == "text":
        return {"text": text}
    return {"image": str(sample_picture(text, number))}


# ---- checks ------------------------------------------------------------------------------------------------------
def _samples(component: type[Judge]) -> None:
    labels = {sample.label for sample in component.samples}
    assert len(labels) >= 2, "samples must show at least two labels, a positive and a negative"
    for sample, verdict in zip(component.samples, made(component).grade(items_of(component)), strict=True):
        assert verdict.label == sample.label, f"{sample.text!r} is {verdict.label}, not {sample.label}"


def _offered(component: type[Judge]) -> None:
    judge = made(component)
    for verdict in judge.grade(items_of(component)):
        assert verdict.label is None or verdict.label in judge.offered, f"{verdict.label} is not offered"
        assert not math.isinf(verdict.value)


def _garbage(component: type[Judge]) -> None:
    field, bads = ("text", ()) if component.reads == "text" else ("image", _bad_pictures())
    for bad in (None, 3, ["yes"], {"text": "yes"}, *bads):
        items = [Item(item.example, {field: bad}) for item in items_of(component)]
        _all_unscored(made(component).grade(items), f"{field} {bad!r}")
    _all_unscored(made(component).grade([Item(item.example, {}) for item in items_of(component)]), "no fields")


def _nothing_to_grade(component: type[Judge]) -> None:
    """A judge that compares has nothing to compare with where target and tags are missing."""
    if not component.needs_target:
        return
    items = [Item(Example(id=item.example.id, prompt="Who?"), item.fields) for item in items_of(component)]
    _all_unscored(made(component).grade(items), "no target and no tags")


def _order(component: type[Judge]) -> None:
    items = items_of(component)
    forward = made(component).grade(items)
    backward = made(component).grade(items[::-1])[::-1]
    _same(forward, backward)


def _singles(component: type[Judge]) -> None:
    items = items_of(component) * 2
    _same(made(component).grade(items), [made(component).grade([item])[0] for item in items])


def _cache(component: type[Judge]) -> None:
    judge = made(component)
    cache: dict[str, Verdict] = {}
    first = judge(items_of(component), cache)
    spy = _Spy(judge)
    assert first == judge(items_of(component), cache), "the cache gave other verdicts"
    assert spy.asked == 0, f"{spy.asked} items were graded although the cache has them"


def _not_offered(component: type[Judge]) -> None:
    judge = made(component)
    assert judge.offered, "no labels are offered"
    judge.grade = lambda items: [Verdict(1.0, "no such label") for _ in items]  # type: ignore[method-assign]
    _all_unscored(judge(items_of(component), {}), "a label that is not offered")


def _version(component: type[Judge]) -> None:
    judge, other = made(component), made(component)
    other.version = judge.version + " changed"  # type: ignore[misc]
    for item in items_of(component):
        assert judge.key(item) == made(component).key(item), "the key is not stable"
        assert judge.key(item) != other.key(item), "another version has the same key"


def _response(component: type[Judge]) -> None:
    judge = made(component)
    for item in items_of(component):
        if component.reads == "text":
            other = Item(item.example, {"text": item.fields["text"] + " and more"})
        else:
            other = Item(item.example, _fields(component, component.samples[0].text, NUMBERS))
        assert judge.key(item) != judge.key(other), "another response has the same key"


def _settings(component: type[Judge]) -> None:
    try:
        component({"no_such_setting": 1})
    except UserError as error:
        assert "no_such_setting" in str(error)
    else:
        raise AssertionError("an unknown setting was accepted")


def _round_trip(component: type[Judge]) -> None:
    for judge in (component(), made(component)):
        assert component(judge.config.model_dump()).config == judge.config


def _bad_pictures() -> list[str]:
    """Paths of what is missing, a folder, empty, a text, and a JPEG cut off in the middle."""
    folder = world()
    whole = next(folder.glob("*/*/1.jpg")).read_bytes()
    contents = {"empty.jpg": b"", "text.jpg": b"no picture", "cut.jpg": whole[: len(whole) // 2]}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return ["", str(folder), str(folder / "missing.jpg"), *(str(folder / name) for name in contents)]


class _Spy:
    """Counts what a judge grades."""

    def __init__(self, judge: Judge):
        self.asked = 0
        inner = judge.grade

        def grade(items: Sequence[Item]) -> Sequence[Verdict]:
            self.asked += len(items)
            return inner(items)

        judge.grade = grade  # type: ignore[method-assign]


def _all_unscored(verdicts: Sequence[Verdict], why: str) -> None:
    for verdict in verdicts:
        assert not verdict.scored and verdict.label is None, f"{why}: {verdict}"


def _same(one: Sequence[Verdict], two: Sequence[Verdict]) -> None:
    assert len(one) == len(two)
    for a, b in zip(one, two, strict=True):
        close = (not a.scored and not b.scored) or math.isclose(a.value, b.value, abs_tol=SAME)
        assert close and a.label == b.label, f"{a} and {b}"
