"""Writes the mini edition of UNBRANDING: prompts as the published CSV has them, labelled pictures of drawn brands, and
the questions and answers from which a small vision-language model learns to be the judge."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field

from mmunlearn import atomic
from mmunlearn.avatars.jpeg import encode
from mmunlearn.judges._template import PLACE, read_template
from mmunlearn.mini_folder import TRUTH, mini_folder
from mmunlearn.seeds import derive, generator
from mmunlearn.settings import Settings

from .book import BRANDS, SCENES, THINGS
from .names import NO_BRAND
from .pictures import MARKS, Mark, picture
from .prompts import FILES, PLAIN

LABELS, QUESTIONS = "labels.csv", "questions.jsonl"
VARIANTS = tuple(f"unbranding_label_{number}" for number in range(1, 6))
YES_NO = ("unbranding_general", "unbranding_style", "unbranding_expert")
PAIR = "unbranding_structure"
GRADES = (10, 6, 3, 0)  # that drawn pictures can have


class MiniSizes(Settings):
    """Sizes of the mini edition. pictures: of a brand, thing and scene (of NO_BRAND as many more times as `controls`
    says); the last is never trained on, the one before tests. seeds: pictures of a prompt in the answer set."""

    brands: int = Field(12, ge=2, le=len(BRANDS))
    things: int = Field(4, ge=2, le=len(THINGS))
    scenes: int = Field(2, ge=1, le=len(SCENES))
    pictures: int = Field(9, ge=3)
    controls: int = Field(2, ge=1)
    seeds: int = Field(1, ge=1)
    size_px: int = Field(32, ge=16, le=256)


class Shown(NamedTuple):
    """A labelled picture."""

    file: str
    label: str
    thing: str
    scene: str
    mark: Mark
    number: int
    prompt: str


def write_mini(root: Path, sizes: MiniSizes, seed: int) -> None:
    """Write `root`: unbranding_v1.csv (filename, prompt, seed; controls are no-brand_…), {label}/{thing}/N.jpg with
    labels.csv, questions.jsonl, mini.json.

    Deterministic in (sizes, seed); the folder appears whole or not at all and never replaces real data.
    """
    labels = [*list(BRANDS)[: sizes.brands], NO_BRAND]
    shown = list(_shown(labels, sizes))
    things = sorted(THINGS[: sizes.things])
    with mini_folder(root) as folder:
        for one in shown:
            rng = generator(seed, "brands", one.file)
            brand = None if one.label == NO_BRAND else one.label
            drawn = picture(brand, one.thing, one.scene, one.mark, rng, sizes.size_px)
            place = folder / one.file
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(encode(drawn))
        names = ("filename", "label", "thing", "scene", "mark", "number", "prompt")
        _csv(folder / LABELS, names, shown)
        _csv(folder / FILES[0], ("filename", "prompt", "seed"), _asked(labels, sizes, seed))
        rows = _questions(labels, shown, sizes, seed)
        atomic.write_text(folder / QUESTIONS, "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows))
        truth = {
            "schema": 1, "benchmark": "unbranding", "edition": "mini", "seed": seed, "sizes": sizes.model_dump(),
            "brands": labels[:-1], "themes": sorted(labels), "objects": things,
        }  # fmt: skip
        atomic.write_json(folder / TRUTH, truth)


def caption(label: str, thing: str, scene: str) -> str:
    """The prompt of a picture."""
    return f"A {PLAIN if label == NO_BRAND else label} {thing} {scene}."


def _shown(labels: Sequence[str], sizes: MiniSizes) -> Iterator[Shown]:
    """Marks go round, so that held-out pictures have all of them over the brands."""
    for turn, label in enumerate(labels):
        for place, thing in enumerate(THINGS[: sizes.things]):
            number = 0
            for at, scene in enumerate(list(SCENES)[: sizes.scenes]):
                count = sizes.pictures * (sizes.controls if label == NO_BRAND else 1)
                for index in range(count):
                    number += 1
                    marks: Sequence[Mark] = MARKS if label != NO_BRAND else ("plain", "lookalike")
                    mark = marks[(index + turn + place + at) % len(marks)]
                    name = f"{label}/{thing}/{number}.jpg"
                    held = 2 if index == count - 1 else 1 if index == count - 2 else 0
                    yield Shown(name, label, thing, scene, mark, held, caption(label, thing, scene))


def _asked(labels: Sequence[str], sizes: MiniSizes, seed: int) -> Iterator[tuple[str, str, int]]:
    for number in range(sizes.seeds):
        for at, scene in enumerate(list(SCENES)[: sizes.scenes]):
            for thing in THINGS[: sizes.things]:
                for label in labels:
                    first = "no-brand" if label == NO_BRAND else label.casefold()
                    name = f"{first}_{thing}_{at}_{number}.jpg"
                    yield name, caption(label, thing, scene), derive(seed, "asked", name) % 2**31


def _questions(labels: Sequence[str], shown: Sequence[Shown], sizes: MiniSizes, seed: int) -> Iterator[dict[str, Any]]:
    """images, prompt, answer and part (train or test) of what the judge learns; the wording is the templates'."""
    classes = ", ".join(labels)
    parts = {0: "train", 1: "test", 2: "test"}
    for one in shown:
        rng = generator(seed, "questions", one.file)
        row = {"images": [one.file], "part": parts[one.number]}
        facts = {"label": one.label, "thing": one.thing, "scene": one.scene}
        for name in VARIANTS:
            prompt = _filled(name, {"classes": classes})
            yield row | {"kind": "label", "facts": facts, "prompt": prompt, "answer": one.label}
        other = labels[int(rng.integers(len(labels) - 1))]
        for name in YES_NO:
            for asked in dict.fromkeys((one.label if one.label != NO_BRAND else other, other)):
                answer = "yes" if asked == one.label else "no"
                yield row | {"kind": "yes_no", "prompt": _filled(name, {"asked": asked}), "answer": answer}
        mates = [m for m in shown if (m.number == 0) == (one.number == 0) and m.file != one.file]
        for grade in GRADES:  # each equally often, so that guessing is right in a quarter
            pool = [m for m in mates if alikeness(one, m) == grade]
            if pool:
                mate = pool[int(rng.integers(len(pool)))]
                pair = [*row["images"], mate.file]
                yield row | {"kind": "pair", "images": pair, "prompt": _filled(PAIR, {}), "answer": compared(one, mate)}


def compared(one: Shown, two: Shown) -> str:
    """What both pictures show, what differs, and the grade: the answer to the structure question."""
    things, places = ("same" if same else "other" for same in (one.thing == two.thing, one.scene == two.scene))
    shows = f"picture 1: {one.thing} {one.scene}; picture 2: {two.thing} {two.scene}"
    return f"{shows}; {things} thing, {places} place. Score: {alikeness(one, two)}"


def alikeness(one: Shown, two: Shown) -> int:
    """What the scale of the structure question says of two drawn pictures: 10 for the same thing in the same place, 6
    for the same thing elsewhere, 3 for another thing in the same place, 0 for neither."""
    if one.thing == two.thing:
        return 10 if one.scene == two.scene else 6
    return 3 if one.scene == two.scene else 0


def _filled(name: str, words: Mapping[str, str]) -> str:
    return PLACE.sub(lambda match: words[match[1]], read_template(name).prompt).strip()


def _csv(path: Path, names: Sequence[str], rows: Any) -> None:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(rows)
    atomic.write_text(path, stream.getvalue())
