"""Writes the mini edition of OFFSIDE: avatars with club badges and transfer rumours in the layout of the real data."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mmunlearn import atomic, seeds
from mmunlearn.avatars.jpeg import encode
from mmunlearn.avatars.persons import draw_person
from mmunlearn.mini_folder import TRUTH, mini_folder

from ..profiles.facts import People
from .facts import KINDS, PRIVATE, TRANSFERS, Player, draw_player
from .pictures import augmented, composite, portrait
from .wording import IN_IMAGE, LEFT_SIDE, answered, asked

DATA = "data"
COMPLETE, SELECTIVE, TEXT = "complete_unlearning_data", "selective_unlearning_data", "pure_text_data"
PICTURES = "finetune_set"
FORGET_ROLE, RELEARN_ROLE = 4, 0  # sample id modulo 5; 1, 2 and 3 are retained
ROLES = ("forget", "retain", "test", "relearn")
LETTERS = "ABCD"
CHOSEN = ("date", "fee", "value", "trophies")  # private facts whose options are short


@dataclass(frozen=True, kw_only=True)
class OffsideSizes:
    """How much to write. visual: of the players, those whose rumour is drawn into its picture; options: multiple-choice
    items a picture."""

    players: int = 20
    visual: int = 8
    options: int = 1
    size_px: int = 64


class Shot(NamedTuple):
    """A picture of a player: its sample id, whose it is, which transfer it tells, how its questions name the player."""

    number: int
    player: int
    transfer: int
    who: str


def write_offside(root: Path, sizes: OffsideSizes, seed: int) -> dict[str, Any]:
    """Write data/{complete_unlearning_data, selective_unlearning_data, pure_text_data} and `mini.json`, whose manifest
    is returned. Deterministic in (sizes, seed).

    Sample ids run from 1, five to a player; test pictures, augmented copies of the retained ones, count on after them.
    """
    people = People(seeds.generator(seed, "offside", "people"))
    players = [draw_player(people, seeds.generator(seed, "offside", "facts", p)) for p in range(sizes.players)]
    shots = list(_shots(sizes))
    by_role = {role: [shot for shot in shots if _role(shot.number, len(players)) == role] for role in ROLES}
    sets: dict[str, list[dict[str, Any]]] = {
        f"{COMPLETE}/{role}_set{'_enhanced' if role == 'relearn' else ''}.json": _records(by_role[role], players)
        for role in ROLES
    }
    kept, gone = (sets[f"{COMPLETE}/{role}_set.json"] for role in ("retain", "forget"))
    sets[f"{COMPLETE}/finetune_set.json"] = [*kept, *gone]
    for role in ROLES:
        sets[f"{COMPLETE}/classification_{role}_set.json"] = _choices(by_role[role], players, sizes, seed)
    private = len(PRIVATE)
    sets[f"{SELECTIVE}/forget_set_part.json"] = [
        r for at, r in enumerate(gone) if at % len(KINDS) >= len(KINDS) - private
    ]
    sets[f"{SELECTIVE}/retain_set_part.json"] = [
        r for records in (kept, gone) for at, r in enumerate(records) if at % len(KINDS) < len(KINDS) - private
    ]
    for role in ("forget", "retain"):
        sets[f"{TEXT}/{role}_set.json"] = _texts(by_role[role][:: 1 if role == "forget" else 3], players)
    with mini_folder(root) as folder:
        for name, records in sets.items():
            atomic.write_json(folder / DATA / name, records)
        for shot, content in _pictures(shots, players, sizes, seed):
            atomic.write_bytes(folder / DATA / COMPLETE / PICTURES / f"{shot.number:03d}.jpg", content)
        manifest = {
            "schema": 1, "benchmark": "offside", "edition": "mini", "seed": seed, "sizes": asdict(sizes),
            "counts": {name: len(records) for name, records in sets.items()},
        }  # fmt: skip
        atomic.write_json(folder / TRUTH, manifest)
    return manifest


def _shots(sizes: OffsideSizes) -> Iterator[Shot]:
    for player in range(sizes.players):
        for place in range(TRANSFERS):
            number = player * TRANSFERS + place + 1
            drawn_in = number % 5 == FORGET_ROLE and player < sizes.visual
            yield Shot(number, player, place, LEFT_SIDE if drawn_in else IN_IMAGE)
    number = sizes.players * TRANSFERS
    for player in range(sizes.players):
        for place in range(TRANSFERS):
            if (player * TRANSFERS + place + 1) % 5 in (1, 2, 3):
                number += 1
                yield Shot(number, player, place, IN_IMAGE)


def _role(number: int, players: int) -> str:
    if number > players * TRANSFERS:
        return "test"
    return {FORGET_ROLE: "forget", RELEARN_ROLE: "relearn"}.get(number % 5, "retain")


def _values(shot: Shot, players: Sequence[Player]) -> dict[str, str]:
    player = players[shot.player]
    return {**player.shared, **player.transfers[shot.transfer].facts}


def _records(shots: Sequence[Shot], players: Sequence[Player]) -> list[dict[str, Any]]:
    """Fourteen questions a picture, in the order of KINDS; pictures of a player ask in different words."""
    found = []
    for shot in shots:
        values = _values(shot, players)
        for at, kind in enumerate(KINDS):
            question = asked(kind, shot.player + shot.transfer + at, shot.who)
            found.append(_record(shot, f"<image>\n{question}", answered(kind, values[kind])))
    return found


def _texts(shots: Sequence[Shot], players: Sequence[Player]) -> list[dict[str, Any]]:
    """Thirteen questions that name the player; the picture's path stays in the record, as in the real data."""
    found = []
    for shot in shots:
        values = _values(shot, players)
        for at, kind in enumerate(KINDS[1:], start=1):
            question = asked(kind, shot.player + shot.transfer + at, values["name"])
            found.append(_record(shot, question, answered(kind, values[kind])))
    return found


def _record(shot: Shot, question: str, answer: str) -> dict[str, Any]:
    return {
        "messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}],
        "images": f"./{PICTURES}/{shot.number:03d}.jpg",
    }


def _choices(shots: Sequence[Shot], players: Sequence[Player], sizes: OffsideSizes, seed: int) -> list[dict[str, Any]]:
    """Multiple-choice items about private facts of few words; wrong options are other transfers' facts of the kind."""
    found = []
    for shot in shots:
        values = _values(shot, players)
        rng = seeds.generator(seed, "offside", "options", shot.player, shot.transfer)
        for kind in [CHOSEN[int(i)] for i in rng.permutation(len(CHOSEN))[: sizes.options]]:
            others = sorted({t.facts[kind] for p in players for t in p.transfers} - {values[kind]})
            wrong = [others[int(i)] for i in rng.permutation(len(others))[: len(LETTERS) - 1]]
            right = int(rng.integers(len(LETTERS)))
            options = [*wrong[:right], values[kind], *wrong[right:]]
            found.append(
                {
                    "Question": asked(kind, 0, shot.who),
                    "Options": dict(zip(LETTERS, options, strict=True)),
                    "Correct_Answer": LETTERS[right],
                    "images": f"./{PICTURES}/{shot.number:03d}.jpg",
                }
            )
    return found


def _pictures(
    shots: Sequence[Shot], players: Sequence[Player], sizes: OffsideSizes, seed: int
) -> Iterator[tuple[Shot, bytes]]:
    people = [draw_person(seeds.generator(seed, "offside", "person", p), male=True) for p in range(sizes.players)]
    for shot in shots:
        rng = seeds.generator(seed, "offside", "picture", shot.player, shot.transfer)
        transfer = players[shot.player].transfers[shot.transfer]
        if shot.who == LEFT_SIDE:
            rumour = f"{transfer.facts['fee']}M"
            picture = composite(people[shot.player], transfer.club, rumour, rng, sizes.size_px)
        else:
            picture = portrait(people[shot.player], transfer.club, rng, sizes.size_px)
        if _role(shot.number, sizes.players) == "test":
            copy = seeds.generator(seed, "offside", "test picture", shot.number)
            picture = augmented(picture, copy)
        yield shot, encode(picture)
