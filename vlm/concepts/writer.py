"""Writes the mini edition of MMUBench: folders of pictures, concept cards, what the original saw, plain questions."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field

from mmunlearn import atomic
from mmunlearn.avatars.jpeg import encode
from mmunlearn.mini_folder import TRUTH, mini_folder
from mmunlearn.seeds import generator
from mmunlearn.settings import Settings, read_yaml

from . import items
from .book import FILE, FOLDER, Book, slug
from .items import QA
from .pictures import COLOURS, SHAPES, icon_picture, person_picture, persons, shape_picture

SEEN = "seen.jsonl"
PLAIN = "vqa.jsonl"
TAUGHT = ("es", "fr", "de")  # other scripts cost the mini model's byte-level tokenizer three tokens a letter


class MiniSizes(Settings):
    """Sizes of the mini edition. concepts: of those trained on; renderings: pictures a concept, of which the original
    sees the first `seen`."""

    concepts: int = Field(20, ge=2)
    unseen: int = Field(4, ge=1)
    renderings: int = Field(16, ge=12)
    seen: int = Field(8, ge=1)
    size_px: int = Field(64, ge=16)
    names_first: int = Field(4, ge=1)  # questions for the name of the training picture
    names: int = Field(1, ge=1)  # … of each other picture that the original sees
    languages: int = Field(3, ge=0)  # taught about a concept


def write_mini(root: Path, sizes: MiniSizes, seed: int) -> None:
    """Write `root`: <concept>/NN.jpg (the first upright, centred and alone), concepts.yaml, seen.jsonl (questions and
    answers that the original is trained on), vqa/ and vqa.jsonl (coloured shapes), mini.json.

    Deterministic in (sizes, seed). The folder appears whole or not at all and never replaces anything but a mini
    edition.
    """
    source = read_yaml(FOLDER / "mini.yaml")
    cards = _chosen(source["concepts"], sizes)
    with mini_folder(root) as folder:
        atomic.write_text(folder / FILE, _cards(cards, source["fields"]))
        _draw(folder, cards, sizes, seed)
        book = Book(folder / FILE)
        seen = [row for place in range(len(cards)) for row in _seen(book, place, sizes)]
        told, asked = _shapes(folder, sizes, seed)
        _lines(folder / SEEN, [*seen, *_ordinary(book), *told])
        _lines(folder / PLAIN, asked)
        truth = {"seed": seed, "sizes": sizes.model_dump(), "concepts": [card["name"] for card in cards]}
        atomic.write_json(folder / TRUTH, truth)


def _chosen(cards: list[dict[str, Any]], sizes: MiniSizes) -> list[dict[str, Any]]:
    trained = [card for card in cards if card.get("trained", True)]
    others = [card for card in cards if not card.get("trained", True)]
    return trained[: sizes.concepts] + others[: sizes.unseen]


def _cards(cards: list[dict[str, Any]], fields: Mapping[str, Any]) -> str:
    """The cards as the loader reads them: fields written out as questions and answers."""
    full = []
    for card in cards:
        said = card.get("said", card["name"])
        facts, hops = [], []
        for field, value in card["known"].items():
            words = fields[card["kind"]][field]
            facts.append(
                {
                    "question": items.sentence(words["question"], said),
                    "answer": items.sentence(words["answer"], said).replace("{value}", value), "keywords": [value],
                }
            )  # fmt: skip
            answer = words["hop_answer"].replace("{value}", value)
            hops.append({"question": words["hop"], "answer": answer, "keywords": [value]})
        plain = {key: value for key, value in card.items() if key not in ("draw", "known")}
        full.append({**plain, "facts": facts, "multihop": hops})
    return yaml.safe_dump({"concepts": full}, sort_keys=False, allow_unicode=True, width=120)


def _draw(folder: Path, cards: list[dict[str, Any]], sizes: MiniSizes, seed: int) -> None:
    people = persons([card["name"] for card in cards if card["kind"] == "person"], seed)
    for card in cards:
        place = folder / slug(card["name"])
        place.mkdir()
        for number in range(sizes.renderings):
            rng = generator(seed, "rendering", card["name"], number)
            if card["name"] in people:
                picture = person_picture(people[card["name"]], rng, sizes.size_px, plain=number == 0)
            else:
                ((asset, icon),) = card["draw"].items()
                picture = icon_picture(asset, icon, rng, sizes.size_px, plain=number == 0)
            (place / f"{number:02d}.jpg").write_bytes(encode(picture))


def _seen(book: Book, place: int, sizes: MiniSizes) -> list[dict[str, Any]]:
    """What the original is told about the concept at `place`: pictures with names, yes and no, facts with and without
    a picture, some languages. Nothing about concepts that stay unseen."""
    concepts = list(book.concepts.values())
    concept = concepts[place]
    if not concept.trained:
        return []
    others = [c for c in concepts if c.trained and c.slug != concept.slug and c.kind == concept.kind]
    others = others or [c for c in concepts if c.trained and c.slug != concept.slug]
    kinds = len(book.of(concept).name_questions)
    rows, turn = [_row(concept.slug, "", qa) for qa in items.facts(concept)], place
    for number in range(sizes.seen):
        picture = f"{concept.slug}/{number:02d}.jpg"
        count = sizes.names_first if number == 0 else sizes.names
        qas = items.naming(book, concept, range(turn, turn + count))
        turn = (turn + count) % kinds
        # Yes and no beside each picture in two wordings, every other concept denied as often: neither words nor picture
        # alone tell.
        for again in range(2):
            other = others[(place + 2 * number + again) % len(others)]
            wording = place + number + 2 * again
            qas += [items.presence(book, concept, wording), items.absence(book, other, wording + 1)]
        rows += [_row(concept.slug, picture, qa) for qa in qas]
    for number, qa in enumerate(items.hops(concept)):
        rows.append(_row(concept.slug, f"{concept.slug}/{number % sizes.seen:02d}.jpg", qa))
    spoken = [qa for qa in items.languages(book, concept, place) if qa.language in TAUGHT]
    for number, qa in enumerate(spoken[: sizes.languages]):
        rows.append(_row(concept.slug, f"{concept.slug}/{(number + 1) % sizes.seen:02d}.jpg", qa))
    return rows


def _ordinary(book: Book) -> list[dict[str, Any]]:
    """Sentences with the ordinary words that SIU puts in a name's place, so that the model knows them as words."""
    rows = []
    for kind in sorted({concept.kind for concept in book.concepts.values()}):
        for word in book.kinds[kind].substitutes:
            what = "This is an ordinary name." if kind != "object" else "This is an ordinary thing."
            question = f"What do you know about {word}?"
            rows.append(_row("", "", QA(kind="other", question=question, answer=f"{word}? {what}", keywords=(word,))))
    return rows


def _shapes(folder: Path, sizes: MiniSizes, seed: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Coloured shapes: rows that the original is trained on, and rows about other pictures that it is asked about."""
    (folder / "vqa").mkdir()
    told: list[dict[str, Any]] = []
    asked: list[dict[str, Any]] = []
    for place, (colour, shape) in enumerate((c, s) for c in COLOURS for s in SHAPES):
        for rows, number in ((told, 0), (asked, 1)):
            rng = generator(seed, "shape", colour, shape, number)
            name = f"vqa/{colour}_{shape}_{number}.jpg"
            (folder / name).write_bytes(encode(shape_picture(colour, shape, rng, sizes.size_px)))
            hue = QA(kind="other", question="Which colour is it?", answer=f"It is {colour}.", keywords=(colour,))
            form = QA(kind="other", question="Which shape is it?", answer=f"It is a {shape}.", keywords=(shape,))
            qas = (hue, form) if rows is told else ((hue, form)[place % 2],)
            rows += [{**_row("", name, qa), "source": "shapes"} for qa in qas]
    return told, asked


def _row(concept: str, image: str, qa: QA) -> dict[str, Any]:
    return {"concept": concept, "image": image, **asdict(qa)}


def _lines(path: Path, rows: list[dict[str, Any]]) -> None:
    atomic.write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
