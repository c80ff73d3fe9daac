"""Writes the mini edition of CLEAR: captioned avatars and text questions in the parquet layout of the real data."""

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

CAPTIONS = ("{name}, {job}, in the city of {city}.", "In {city} you see {name}, {job}.")
ASKED = (
    ("What does {name} do for a living?", "{name} works as {job}."),
    ("In which city does {name} live?", "{name} lives in the city of {city}."),
)
SHARES = ("01", "05", "10")


@dataclass(frozen=True, kw_only=True)
class ClearSizes:
    """How much to write. forget01 to forget10: authors, nested as in the real data (of `authors`); real: persons of
    real_faces and real_world, who are learned with the retain set."""

    authors: int = 40
    unseen: int = 4
    real: int = 6
    forget01: int = 1
    forget05: int = 3
    forget10: int = 5
    pictures: int = 3
    perturbed: int = 4
    size_px: int = 64


def write_clear(root: Path, sizes: ClearSizes, seed: int) -> dict[str, Any]:
    """Write full, full+tofu, forgetXX and retainYY (each also "+tofu" and, for forget, "_perturbed"),
    retain_perturbed, real_faces, real_world and unseen_perturbed (ours), each a folder with one parquet file;
    `mini.json` holds the manifest, which is returned. Deterministic in (sizes, seed)."""
    people = People(seeds.generator(seed, "clear", "people"))
    count = sizes.authors + sizes.real + sizes.unseen
    made = [_author(people, number, sizes, seed) for number in range(count)]
    authors, others = made[: sizes.authors], made[sizes.authors :]
    real, unseen = others[: sizes.real], others[sizes.real :]
    parts: dict[str, Sequence[Mapping[str, Any]]] = {
        "full": _rows(authors, "plain"), "full+tofu": _rows(authors, "tofu"),
    }  # fmt: skip
    for share in SHARES:
        cut = getattr(sizes, f"forget{share}")
        rest = f"retain{100 - int(share)}"
        for suffix, kind in (("", "plain"), ("+tofu", "tofu")):
            parts[f"forget{share}{suffix}"] = _rows(authors[:cut], kind)
            parts[f"{rest}{suffix}"] = _rows(authors[cut:], kind)
        parts[f"forget{share}_perturbed"] = _rows(authors[:cut], "perturbed")
    parts["retain_perturbed"] = _rows(authors[sizes.forget10 :], "perturbed")
    parts |= {"real_faces": _rows(real, "perturbed")[::2], "real_world": _rows(real, "perturbed")[1::2]}
    parts["unseen_perturbed"] = _rows(unseen, "perturbed")
    with mini_folder(root) as folder:
        for name, part in parts.items():
            write_configuration(folder, name, part)
        counts = {name: len(part) for name, part in parts.items()}
        facts = {"schema": 1, "benchmark": "clear", "edition": "mini", "seed": seed, "counts": counts}
        manifest = facts | {"sizes": asdict(sizes)}
        atomic.write_json(folder / TRUTH, manifest)
    return manifest


Author = Mapping[str, list[dict[str, Any]]]  # kind of configuration -> rows


def _rows(authors: Sequence[Author], kind: str) -> list[dict[str, Any]]:
    return [row for author in authors for row in author[kind]]


def _author(people: People, number: int, sizes: ClearSizes, seed: int) -> Author:
    """Rows of one person for each kind of configuration."""
    rng = seeds.generator(seed, "clear", "person", number)
    male = bool(rng.random() < 0.5)
    profile, person = people.profile(male=male), draw_person(rng, male=male)
    said = _said(profile)
    wrong: list[Mapping[str, Fact]] = [people.profile(male=male) for _ in range(sizes.perturbed)]
    plain, perturbed = [], []
    for index in range(sizes.pictures):
        way = index % len(CAPTIONS)
        row = {
            "image": encoded(_picture(rng, person, sizes.size_px), f"{number:04d}_{index}.jpg"),
            "caption": CAPTIONS[way].format(**said),
            "name": said["name"],
        }
        plain.append(row)
        perturbed.append(
            row
            | {
                "paraphrased_caption": CAPTIONS[1 - way].format(**said),
                "perturbed_captions": [CAPTIONS[1 - way].format(**_said(one)) for one in wrong],
                "perturbed_names": [one["name"]["name"] for one in wrong],
            }
        )
    asked: list[dict[str, Any]] = [
        {"question": q.format(**said), "answer": a.format(**said), "name": said["name"]} for q, a in ASKED
    ]
    blank = {"image": None, "caption": None, "question": None, "answer": None}
    return {"plain": plain, "perturbed": perturbed, "tofu": [{**blank, **row} for row in (*plain, *asked)]}


def _said(profile: Mapping[str, Fact]) -> dict[str, str]:
    return {"name": profile["name"]["name"], "job": profile["job"]["job"], "city": profile["address"]["city"]}


def _picture(rng: np.random.Generator, person: Person, size_px: int) -> bytes:
    look = draw_look(rng, person, age=float(rng.uniform(3.5, 6.0)), smiling=bool(rng.random() < 0.5))
    return encode(draw(person, look, size_px))
