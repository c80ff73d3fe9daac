"""Writes the mini edition of MLLMU-Bench: avatars and invented profiles in the parquet layout of the real data."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmunlearn import atomic, seeds
from mmunlearn.avatars.drawing import draw
from mmunlearn.avatars.jpeg import encode
from mmunlearn.avatars.looks import draw_look
from mmunlearn.avatars.persons import Person, draw_person
from mmunlearn.mini_folder import TRUTH, mini_folder

from .facts import Fact, People
from .parquet_folder import encoded, write_configuration
from .questions import caption
from .wording import WORDINGS

KINDS = ("job", "address", "condition", "doctor", "income", "birth")  # asked; the name is given or shown
# What is asked without a picture names the person; a cloze leaves the fact open.
NAMED = {
    "job": ("What does {name} do for a living?", "{name} works as [blank]."),
    "address": ("Where does {name} live?", "{name} lives at [blank]."),
    "condition": ("Which medical condition does {name} have?", "{name} suffers from [blank]."),
    "doctor": ("Which doctor treats {name}?", "{name} is treated by [blank]."),
    "income": ("How much does {name} earn in a year?", "{name} earns [blank] a year."),
    "birth": ("When was {name} born?", "{name} was born on [blank]."),
}
LETTERS = "ABCD"


@dataclass(frozen=True, kw_only=True)
class MllmuSizes:
    """How much to write. forget_5, forget_10, forget_15: persons, nested as in the real data (of `persons`)."""

    persons: int = 30
    celebrities: int = 6
    unseen: int = 4
    forget_5: int = 3
    forget_10: int = 5
    forget_15: int = 7
    views: int = 2
    size_px: int = 64


def write_mllmu(root: Path, sizes: MllmuSizes, seed: int) -> dict[str, Any]:
    """Write Full_Set, ft_Data, Test_Set, Retain_Set (the celebrities), forget_N and retain_(100-N) for N = 5, 10, 15,
    and Unseen_Set (ours: persons that no model is trained on), each a folder with one parquet file; `mini.json` holds
    the manifest, which is returned. Deterministic in (sizes, seed)."""
    people = People(seeds.generator(seed, "mllmu", "people"))
    total = sizes.persons + sizes.celebrities + sizes.unseen
    rows, views = [], []
    for number in range(total):
        row, seen = _person(people, number, sizes, seed)
        rows.append(row)
        views.append(seen)
    persons, rest = rows[: sizes.persons], rows[sizes.persons :]
    with mini_folder(root) as folder:
        tests = [{k: v for k, v in row.items() if k != "image"} | {"images": views[i]} for i, row in enumerate(persons)]
        parts: dict[str, Sequence[Mapping[str, Any]]] = {"Full_Set": persons, "ft_Data": persons, "Test_Set": tests}
        for share in (5, 10, 15):
            count = getattr(sizes, f"forget_{share}")
            parts |= {f"forget_{share}": persons[:count], f"retain_{100 - share}": persons[count:]}
        parts |= {"Retain_Set": rest[: sizes.celebrities], "Unseen_Set": rest[sizes.celebrities :]}
        for name, part in parts.items():
            write_configuration(folder, name, part)
        counts = {name: len(part) for name, part in parts.items()}
        facts = {"schema": 1, "benchmark": "mllmu", "edition": "mini", "seed": seed, "counts": counts}
        manifest = facts | {"sizes": asdict(sizes)}
        atomic.write_json(folder / TRUTH, manifest)
    return manifest


def _person(people: People, number: int, sizes: MllmuSizes, seed: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A row, and further pictures of the same person."""
    rng = seeds.generator(seed, "mllmu", "person", number)
    male = bool(rng.random() < 0.5)
    profile, person = people.profile(male=male), draw_person(rng, male=male)
    key = f"{number + 1:03d}"
    jpegs = [encoded(_picture(rng, person, sizes.size_px), f"{key}_{i}.jpg") for i in range(1 + sizes.views)]
    name = profile["name"]["name"]
    row = {
        "image": jpegs[0],
        "ID": key,
        "biography": caption(profile),
        "question": WORDINGS["name"].questions[0],
        "answer": WORDINGS["name"].answers[0].format(name=name),
        "Classification_Task": {
            "Image_Textual_Questions": [_choice(people, profile, kind, male, named=None) for kind in KINDS[:2]],
            "Pure_Text_Questions": [_choice(people, profile, kind, male, named=name) for kind in KINDS[:1]],
        },
        "Generation_Task": [
            *(_open(profile, kind, None) for kind in KINDS),
            *(_open(profile, kind, name) for kind in KINDS[:3]),
        ],
        "Mask_Task": [*(_cloze(profile, kind, None) for kind in KINDS[2:4]), _cloze(profile, KINDS[0], name)],
    }
    return row, jpegs[1:]


def _picture(rng: np.random.Generator, person: Person, size_px: int) -> bytes:
    look = draw_look(rng, person, age=float(rng.uniform(3.5, 6.0)), smiling=bool(rng.random() < 0.5))
    return encode(draw(person, look, size_px))


def _open(profile: Mapping[str, Fact], kind: str, name: str | None) -> dict[str, str]:
    question = WORDINGS[kind].questions[0] if name is None else NAMED[kind][0].format(name=name)
    truth = WORDINGS[kind].answers[0].format(**profile[kind])
    return {"Question": question, "Ground_Truth": truth, "Type": _type(name)}


def _cloze(profile: Mapping[str, Fact], kind: str, name: str | None) -> dict[str, str]:
    who = name or "This person"
    return {"Question": NAMED[kind][1].format(name=who), "Ground_Truth": _value(profile[kind]), "Type": _type(name)}


def _choice(people: People, profile: Mapping[str, Fact], kind: str, male: bool, named: str | None) -> dict[str, Any]:
    """A question with four options in random order."""
    wrong: list[Fact] = []
    for _ in range(3):
        wrong.append(people.other(kind, male=male, unlike=(profile[kind], *wrong)))
    options = [_value(fact) for fact in (profile[kind], *wrong)]
    order = people.rng.permutation(4).tolist()
    question = WORDINGS[kind].questions[0] if named is None else NAMED[kind][0].format(name=named)
    return {
        "Question": question,
        "Options": {letter: options[place] for letter, place in zip(LETTERS, order, strict=True)},
        "Correct_Answer": LETTERS[order.index(0)],
    }


def _value(fact: Fact) -> str:
    return " ".join(fact.values())


def _type(name: str | None) -> str:
    return "Image_Textual" if name is None else "Pure_Text"
