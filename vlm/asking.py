"""Asking a goal in another way: candidates that keep its answer, its tags and its judge, and never tell the answer."""

import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mmunlearn.attacks.base_goals import Trial
from mmunlearn.data import Example, ImageRef
from mmunlearn.judges._words import lines, normal, phrase_pattern

if TYPE_CHECKING:
    from PIL import Image

Ways = Iterable[tuple[str, str]]  # (origin, question)

SUBJECT_TAGS = ("identity", "subject", "concept", "player", "patient")  # whom or what an example is about
NAME_TAGS = ("name", "names", "subject", "player")  # how that is called, one name a line, the usual one first
_CALLED = re.compile(r"\b(name|called|who is|who's|whom)\b", re.IGNORECASE)
_NAMELIKE = re.compile(r"[A-Z][\w.'’-]*(?: [A-Z][\w.'’-]*)+")
_SHORT = {"yes", "no", "true", "false"}


def reworded(goal: Example, prompt: str) -> Example:
    """The goal under another question; the choices are left out, nobody asks what they score."""
    return replace(goal, prompt=prompt, choices=())


def repictured(goal: Example, picture: "Image.Image | np.ndarray | None") -> Example:
    """The goal with another picture, kept as PNG (lossless) so that its hash says what was shown; None: no picture."""
    return replace(goal, image=None if picture is None else stored(picture), choices=())


def stored(picture: "Image.Image | np.ndarray") -> ImageRef:
    """A picture, or (height, width, 3) levels of eight bits, as encoded bytes."""
    from PIL import Image

    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return ImageRef(content=buffer.getvalue())


def answers_of(goal: Example) -> list[str]:
    """What must not stand in a question: keywords and accepted answers, without single characters, yes and no."""
    told = [*lines(goal.tags.get("keywords", "")), *lines(goal.tags.get("answers", ""))]
    if isinstance(goal.target, str):
        told.append(goal.target)
    return [text for text in told if len(normal(text)) > 1 and normal(text) not in _SHORT]


def tells(prompt: str, goal: Example) -> bool:
    """Whether a question tells part of the answer that the goal's own question does not tell."""
    asked, own = normal(prompt), normal(goal.prompt or "")
    found = (phrase_pattern(text.strip(" .")) for text in answers_of(goal))
    return any(pattern.search(asked) and not pattern.search(own) for pattern in found)


def rewordings(goals: Sequence[Example], ways: Callable[[Example], Ways], *, picture: bool = True) -> Iterator[Trial]:
    """Candidates of each goal in the order of `ways`, without repetitions, without what tells the answer.

    picture: False leaves it out. A goal's own question is a candidate only without its picture.
    """
    for index, goal in enumerate(goals):
        kept = goal if picture else replace(goal, image=None)
        seen = {normal(goal.prompt or "")} if kept.image == goal.image else set()
        for origin, prompt in ways(goal):
            if normal(prompt) not in seen and not tells(prompt, goal):
                seen.add(normal(prompt))
                yield Trial(reworded(kept, prompt), -float(len(seen)), index, origin)


def subject_of(goal: Example) -> str:
    """Whom or what the goal is about, as its tags say; its own id where they do not."""
    return next((goal.tags[tag] for tag in SUBJECT_TAGS if goal.tags.get(tag)), goal.id)


def siblings(goal: Example, among: Sequence[Example]) -> list[Example]:
    """Further goals about the same subject, without those that have the same answer."""
    own = normal(str(goal.target))
    return [
        other
        for other in among
        if other.id != goal.id and subject_of(other) == subject_of(goal) and normal(str(other.target)) != own
    ]


def name_of(goal: Example, among: Sequence[Example] = ()) -> str:
    """The subject's name: a tag's, the subject's own where it is one, or the answer of a sibling that asks for it;
    "" where nobody says it."""
    for tag in NAME_TAGS:
        if goal.tags.get(tag):
            return lines(goal.tags[tag])[0]
    if _NAMELIKE.fullmatch(subject_of(goal)):
        return subject_of(goal)
    for other in siblings(goal, among):
        names = lines(other.tags.get("keywords", ""))
        if len(names) == 1 and _NAMELIKE.fullmatch(names[0]) and _CALLED.search(other.prompt or ""):
            return names[0]
    return ""
