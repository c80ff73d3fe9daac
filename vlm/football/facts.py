"""What is said of an invented player: eight facts that all his pictures share, six of one transfer."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ..profiles.facts import MONTHS, People

SHARED = ("name", "age", "position", "nationality", "birth_date", "height", "foot", "birth_place")
PRIVATE = ("club", "previous", "date", "fee", "value", "trophies")
KINDS = (*SHARED, *PRIVATE)
TODAY = 2026

POSITIONS = ("goalkeeper", "defender", "midfielder", "winger", "striker")
COUNTRIES = (
    "Norway", "Ghana", "Peru", "Japan", "Kenya", "Iceland", "Chile", "Wales", "Egypt", "Canada", "Serbia", "Mexico",
)  # fmt: skip
TOWNS = (
    "Alder", "Birch", "Cedar", "Dale", "Elm", "Fenwick", "Grove", "Heath", "Ivy", "Kirk", "Larch", "Marsh", "Nook",
    "Oakley", "Pine", "Quarry", "Ridge", "Stone", "Thorn", "Vale",
)  # fmt: skip


class Club(NamedTuple):
    """A club that does not exist: what it is called, the icon on its badge, its colour."""

    name: str
    icon: str
    colour: tuple[int, int, int]


# Icons of the set twemoji; a badge can be read as the club's name, so a picture may give a club away by itself.
CLUBS = (
    Club("Anchor City", "anchor", (30, 60, 140)),
    Club("Apple Town", "red-apple", (235, 235, 220)),
    Club("Bear United", "bear", (60, 130, 70)),
    Club("Bell Rovers", "bell", (150, 40, 40)),
    Club("Cactus Albion", "cactus", (235, 210, 150)),
    Club("Crab Athletic", "crab", (120, 200, 230)),
    Club("Crown Park", "crown", (90, 30, 110)),
    Club("Fire Rangers", "fire", (25, 25, 35)),
    Club("Fox Villa", "fox", (200, 225, 190)),
    Club("Frog Wanderers", "frog", (240, 150, 180)),
    Club("Key County", "key", (40, 110, 110)),
    Club("Moon Orient", "crescent-moon", (15, 20, 70)),
    Club("Owl Forest", "owl", (215, 190, 235)),
    Club("Rocket Star", "rocket", (245, 190, 60)),
    Club("Rose Hill", "rose", (205, 205, 205)),
    Club("Tiger Borough", "tiger-face", (70, 90, 90)),
)
# Few values a fact, so that a mini model learns a thousand of them by heart in minutes.
MONEY = ("5", "10", "20", "30", "40", "50", "70", "90")
WINDOWS = ("January", "June", "July", "August")
TRANSFERS = 5  # pictures of a player that are not copies: three to keep, one rumour, one correction


class Transfer(NamedTuple):
    """The six private facts of one picture; the club stands apart, since it is drawn too."""

    club: Club
    facts: Mapping[str, str]


class Player(NamedTuple):
    """A player: what all pictures share, and his transfers in the order of his pictures."""

    shared: Mapping[str, str]
    transfers: tuple[Transfer, ...]


def draw_player(people: People, rng: np.random.Generator) -> Player:
    """A player whose transfers lead to five different clubs."""
    year = int(rng.integers(1988, 2006))
    shared = {
        "name": people.fact("name", male=True)["name"],
        "age": str(TODAY - year),
        "position": _pick(rng, POSITIONS),
        "nationality": _pick(rng, COUNTRIES),
        "birth_date": _date(rng, year, MONTHS),
        "height": str(165 + 3 * int(rng.integers(12))),
        "foot": _pick(rng, ("left", "right")),
        "birth_place": _pick(rng, TOWNS),
    }
    order = [CLUBS[int(i)] for i in rng.permutation(len(CLUBS))]
    joined, left = order[:TRANSFERS], order[TRANSFERS : 2 * TRANSFERS]
    return Player(shared, tuple(_transfer(rng, club, old) for club, old in zip(joined, left, strict=True)))


def _transfer(rng: np.random.Generator, club: Club, previous: Club) -> Transfer:
    facts = {
        "club": club.name,
        "previous": previous.name,
        "date": _date(rng, int(rng.integers(2021, 2026)), WINDOWS),
        "fee": _pick(rng, MONEY),
        "value": _pick(rng, MONEY),
        "trophies": str(rng.integers(0, 6)),
    }
    return Transfer(club, facts)


def _date(rng: np.random.Generator, year: int, months: tuple[str, ...]) -> str:
    return f"{_pick(rng, months)} {year}"


def _pick(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]
