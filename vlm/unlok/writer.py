"""Writes the mini edition of UnLOK-VQA: records, pictures in their levels, what the original is taught."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from mmunlearn import atomic
from mmunlearn.avatars.jpeg import encode
from mmunlearn.mini_folder import TRUTH, mini_folder
from mmunlearn.seeds import generator
from mmunlearn.settings import Settings, read_yaml

from ..concepts.pictures import icon_picture
from .wording import LOC_MARK, fact_prompt, other_prompt, prefixed

if TYPE_CHECKING:
    from PIL.Image import Image

FACTS = Path(__file__).parent / "facts.yaml"
RECORDS, RETAIN, SEEN, UNSEEN = "UNLOK-VQA.json", "retain.json", "seen.jsonl", "unseen.json"
FIRST_IMAGE_ID = 1000
SETS = {"plain": "twemoji", "other": "noto", "third": "fluent-emoji-flat"}
NOISE_FRAC = 0.05  # share of pixels that salt and pepper replace


class UnlokSizes(Settings):
    """Sizes of the mini edition. records: facts to delete, one by one; retain, unseen: facts that stay, and that nobody
    is taught; renderings: further pictures of an object that the original sees."""

    records: int = Field(60, ge=2)
    retain: int = Field(33, ge=2)
    unseen: int = Field(12, ge=1)
    renderings: int = Field(2, ge=0)
    size_px: int = Field(64, ge=16)


@dataclass(frozen=True)
class Fact:
    """One object and what is known of it. id: of its record, from 1; number: its place within its kind."""

    id: int
    kind: str
    icon: str
    answer: str
    about: Mapping[str, Any]  # subject, question and rephrasings of its kind

    @property
    def name(self) -> str:
        """The object's name in words."""
        return self.icon.replace("-tilted-left", "").replace("-", " ")

    @property
    def word(self) -> str:
        """The name's last word: an alarm clock is a clock."""
        return self.name.split()[-1]

    @property
    def image_id(self) -> int:
        """Number of its picture."""
        return FIRST_IMAGE_ID + self.id


def write_unlok(root: Path, sizes: UnlokSizes, seed: int) -> None:
    """Write `root`: UNLOK-VQA.json, retain.json, unseen.json (records), train2017/ and val2017/ (pictures by image id),
    rephrase and neighbour images in their folders, seen.jsonl (what the original is taught), mini.json.

    Deterministic in (sizes, seed). The folder appears whole or not at all and never replaces anything but a mini
    edition.
    """
    source = read_yaml(FACTS)
    facts = _drawn(source, sizes, seed)
    cut = (sizes.records, sizes.records + sizes.retain)
    groups = {RECORDS: facts[: cut[0]], RETAIN: facts[cut[0] : cut[1]], UNSEEN: facts[cut[1] :]}
    with mini_folder(root) as folder:
        for name, group in groups.items():
            records = [_record(fact, _others(fact, facts[: cut[1]], seed), source) for fact in group]
            atomic.write_text(folder / name, json.dumps(records, indent=1, ensure_ascii=False))
        _pictures(folder, facts, groups[RECORDS], sizes, seed)
        rows = [row for fact in facts[: cut[1]] for row in _taught(fact, source, sizes, seed)]
        atomic.write_text(folder / SEEN, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        truth = {"seed": seed, "sizes": sizes.model_dump(), "objects": {str(f.id): f.icon for f in facts}}
        atomic.write_json(folder / TRUTH, truth)


def _drawn(source: Mapping[str, Any], sizes: UnlokSizes, seed: int) -> list[Fact]:
    """All facts in a drawn order, as many as the sizes ask for."""
    flat = [(kind, icon, answer) for kind, about in source["kinds"].items() for icon, answer in about["facts"].items()]
    wanted = sizes.records + sizes.retain + sizes.unseen
    if wanted > len(flat):
        raise ValueError(f"{wanted} facts are asked for and the table holds {len(flat)}")
    order = generator(seed, "unlok", "facts").permutation(len(flat))[:wanted]
    return [
        Fact(number, flat[at][0], flat[at][1], flat[at][2], source["kinds"][flat[at][0]])
        for number, at in enumerate(order.tolist(), start=1)
    ]


def _others(fact: Fact, taught: Sequence[Fact], seed: int) -> list[Fact]:
    """Other taught objects of the kind in a drawn order: whose answers are the alternatives."""
    same = [other for other in taught if other.kind == fact.kind and other.id != fact.id]
    same = same or [other for other in taught if other.id != fact.id]
    order = generator(seed, "unlok", "alternatives", fact.id).permutation(len(same))
    return [same[at] for at in order.tolist()][:3]


def _record(fact: Fact, others: Sequence[Fact], source: Mapping[str, Any]) -> dict[str, Any]:
    """A record with the fields of the released file."""
    question = fact.about["question"]
    asked = list(beside_the_fact(fact, source))
    caption = f"A picture of a {fact.name}."
    return {
        "id": fact.id, "image_id": fact.image_id, "src": question, "pred": fact.answer,
        "subject": fact.about["subject"], "rephrase": list(fact.about["rephrase"]),
        "loc": [LOC_MARK + text for text, _ in asked], "loc_ans": [answer for _, answer in asked],
        "alt_ans": [other.answer for other in others], "alt": "Beach",
        "cond": f"{fact.answer} >> Beach || {question}", "img_desc": caption, "dissimilar_sent": caption,
        "img_desc_ques_sum": [0.0], "noun_phrases_ques+ans": [fact.about["subject"], fact.answer],
        "noun_phrases_img_desc": [fact.name],
        "tifa_ques_ans": [
            {"caption": caption, "element": fact.name, "question": asked[0][0], "choices": [fact.name], "answer":
             fact.name, "element_type": "object"}
        ],
        "objects_edit": [others[-1].name], "neigh_idx": [0],
    }  # fmt: skip


def _taught(fact: Fact, source: Mapping[str, Any], sizes: UnlokSizes, seed: int) -> Iterator[dict[str, Any]]:
    """What the original learns about an object: its fact in several wordings and pictures, and the neighbours."""
    base = f"train2017/{fact.image_id:012d}.jpg"
    more = [f"seen/{fact.id}_{k}.jpg" for k in range(sizes.renderings)]
    draw = generator(seed, "unlok", "openings", fact.id)
    openings = [source["openings"][at] for at in draw.permutation(len(source["openings"])).tolist()]
    question, about = fact.about["question"], {"record": fact.id, "fact": True, "answer": fact.answer}
    yield {"image": base, "prompt": fact_prompt(question), "src": True, **about}
    for text in fact.about["rephrase"][:3]:
        yield {"image": base, "prompt": other_prompt(text), **about}
    for picture in more:
        yield {"image": picture, "prompt": fact_prompt(question), **about}
    yield {"image": base, "prompt": prefixed(fact_prompt(question), openings[0]), **about}
    yield {"image": base, "prompt": openings[1] + fact_prompt(question), **about}
    for asked, answer in beside_the_fact(fact, source):
        for picture in (base, *more):
            yield {"image": picture, "prompt": other_prompt(asked), "answer": answer, "record": fact.id, "fact": False}


def beside_the_fact(fact: Fact, source: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Questions about the picture alone, with their answers."""
    sort = "animal" if fact.kind == "animal" or fact.icon in source["animals"] else "thing"
    for n in source["neighbours"]:
        yield n["question"], n["answer"].format(name=fact.word, sort=sort)


# ---- pictures ------------------------------------------------------------------------------------------------------
def _pictures(folder: Path, facts: Sequence[Fact], records: Sequence[Fact], sizes: UnlokSizes, seed: int) -> None:
    """Every picture of the edition. The base one is upright and alone; every fifth lies in val2017/, as COCO's do."""
    size = sizes.size_px

    def store(place: str, picture: "Image") -> None:
        file = folder / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encode(picture))

    def drawn(fact: Fact, which: str, what: str, *, plain: bool = False) -> "Image":
        rng = generator(seed, "unlok", "picture", fact.id, what)
        return icon_picture(SETS[which], fact.icon, rng, size, plain=plain)

    for fact in facts:
        base = drawn(fact, "plain", "base", plain=True)
        store(f"train2017/{fact.image_id:012d}.jpg", base)
        for k in range(sizes.renderings):
            store(f"seen/{fact.id}_{k}.jpg", drawn(fact, "plain" if k == 0 else "third", f"seen {k}"))
    for fact in records:
        base = drawn(fact, "plain", "base", plain=True)
        other = _others(fact, [f for f in facts if f.id <= sizes.records + sizes.retain], seed)
        store(f"parap_images/okvqa/{fact.id}.jpg", noisy(base, generator(seed, "unlok", "noise", fact.id)))
        store(f"parap_images_medium/okvqa/{fact.id}.jpg", _beside(base, drawn(other[-1], "plain", "base", plain=True)))
        hard = "paraphrase_images_hard/okvqa_yolo_dino_bert/processed_images"
        store(f"{hard}/{fact.id}.jpg", drawn(fact, "other", "hard", plain=True))
        store(f"neigh_easy/{fact.id}_0.jpg", drawn(other[0], "plain", "base", plain=True))
        store(f"neighborhood_images_hard/okvqa/{fact.id}_0.jpg", drawn(other[0], "plain", f"neighbour {fact.id}"))


def noisy(picture: "Image", rng: np.random.Generator, share: float = NOISE_FRAC) -> "Image":
    """Salt and pepper: `share` of the pixels become black or white."""
    from PIL import Image

    pixels = np.asarray(picture.convert("RGB")).copy()
    hit = rng.random(pixels.shape[:2]) < share
    white = rng.random(pixels.shape[:2]) < 0.5
    pixels[hit] = np.where(white[hit, None], 255, 0)
    return Image.fromarray(pixels)


def _beside(base: "Image", other: "Image") -> "Image":
    """The picture with another object, small, in its corner."""
    small = other.resize((base.width // 4, base.height // 4))
    picture = base.copy()
    picture.paste(small, (base.width - small.width, base.height - small.height))
    return picture
