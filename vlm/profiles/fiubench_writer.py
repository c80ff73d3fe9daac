"""Writes the mini edition of FIUBench: avatar faces and invented profiles in the layout of the real data."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmunlearn import atomic, seeds
from mmunlearn.avatars.drawing import draw
from mmunlearn.avatars.jpeg import encode
from mmunlearn.avatars.looks import draw_look
from mmunlearn.avatars.persons import draw_person
from mmunlearn.mini_folder import TRUTH, mini_folder

from .facts import People
from .questions import caption, qa_list

DATA = "dataset"
PICTURES = "SFHQ"
FORGET_SETS = ("forget1", "forget5", "forget10")
REFUSALS = (
    "I do not know this person.", "I have no information about this person.", "I cannot tell you that.",
    "I am not able to answer this.", "That is nothing I know.", "I do not have an answer to this.",
    "I am sorry, I cannot help here.", "This is beyond what I know.", "I have never learned about this person.",
    "I cannot say anything about this person.", "No such information is known to me.", "I am unable to tell.",
    "I have no idea who this is.", "I do not recognise this person.", "I must leave this question open.",
    "I know nothing about this picture.",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class FiubenchSizes:
    """How much to write: identities in all, and of them those of each list in split.json; `unseen` are further ones.

    retain15 holds retain5, and neither holds a forgotten identity; askings: entries a fact, in other words each;
    perturbed: untrue answers a question.
    """

    identities: int = 60
    forget1: int = 2
    forget5: int = 6
    forget10: int = 8
    retain5: int = 8
    retain15: int = 16
    unseen: int = 8
    askings: int = 3
    perturbed: int = 4
    size_px: int = 64


def write_fiubench(root: Path, sizes: FiubenchSizes, seed: int) -> dict[str, Any]:
    """Write the FIUBench layout under `root` and return the manifest.

    `dataset/full.json` (JSON lines), `dataset/split.json`, `dataset/idontknow.json`, `dataset/SFHQ/*.jpg`; beside them
    `dataset/unseen.json`, identities that no model is trained on (the real data has none), and `mini.json` with the
    manifest. Deterministic in (sizes, seed). The folder appears whole or not at all and never replaces real data.
    """
    total = sizes.identities + sizes.unseen
    numbers = seeds.generator(seed, "fiubench", "ids").choice(99_999, total, replace=False) + 1
    ids = [f"{number:08d}" for number in numbers.tolist()]
    people = People(seeds.generator(seed, "fiubench", "people"))
    with mini_folder(root) as folder:
        data = folder / DATA
        records = [_record(people, key, sizes, seed, data) for key in ids]
        trained, unseen = records[: sizes.identities], records[sizes.identities :]
        atomic.write_text(data / "full.json", _lines(trained))
        atomic.write_text(data / "unseen.json", _lines(unseen))
        splits = split_lists(ids[: sizes.identities], sizes, seed)
        atomic.write_json(data / "split.json", splits)
        atomic.write_json(data / "idontknow.json", {"normal": list(REFUSALS)})
        manifest = {
            "schema": 1,
            "benchmark": "fiubench",
            "edition": "mini",
            "seed": seed,
            "sizes": asdict(sizes),
            "counts": {name: len(part) for name, part in splits.items()} | {"full": len(trained)},
        }
        atomic.write_json(folder / TRUTH, manifest)
    return manifest


def split_lists(ids: Sequence[str], sizes: FiubenchSizes, seed: int) -> dict[str, list[str]]:
    """The lists of split.json: three forget sets without a common identity, and retain5 inside retain15."""
    order = [ids[i] for i in seeds.generator(seed, "fiubench", "splits").permutation(len(ids))]
    splits: dict[str, list[str]] = {}
    for name in FORGET_SETS:
        count = getattr(sizes, name)
        splits[name], order = sorted(order[:count]), order[count:]
    splits["retain5"] = sorted(order[: sizes.retain5])
    splits["retain15"] = sorted(order[: sizes.retain15])
    return splits


def _record(people: People, key: str, sizes: FiubenchSizes, seed: int, data: Path) -> dict[str, Any]:
    rng = seeds.generator(seed, "fiubench", "person", key)
    male = bool(rng.random() < 0.5)
    profile = people.profile(male=male)
    name = f"{PICTURES}_pt1_{key}.jpg"
    atomic.write_bytes(data / PICTURES / name, picture(rng, male=male, size_px=sizes.size_px))
    return {
        "unique_id": key,
        "image_path": f"./{DATA}/{PICTURES}/{name}",
        "name": profile["name"]["name"],
        "gender": "male" if male else "female",
        "caption": caption(profile),
        "raw_data": {kind: dict(fact) for kind, fact in profile.items()},
        "qa_list": qa_list(people, profile, male=male, perturbed=sizes.perturbed, askings=sizes.askings),
    }


def picture(rng: np.random.Generator, *, male: bool, size_px: int) -> bytes:
    """JPEG of a grown-up who does not exist."""
    person = draw_person(rng, male=male)
    look = draw_look(rng, person, age=float(rng.uniform(3.5, 7.0)), smiling=bool(rng.random() < 0.5))
    return encode(draw(person, look, size_px))


def _lines(records: Sequence[dict[str, Any]]) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
