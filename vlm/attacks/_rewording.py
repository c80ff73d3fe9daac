"""Other forms of a goal's question and picture: prefixes, rephrasings, jailbreaks; noise and stored images."""

import io
from pathlib import Path
from typing import Literal

from mmunlearn.data import Example, ImageRef
from mmunlearn.seeds import generator

from ..unlok.wording import JAILBREAKS, PREFIXES, bare_question, other_prompt, prefixed
from ..unlok.writer import noisy
from ._spread import Pictured, Prompted

LEVELS = ("easy", "medium", "hard")
Words = Literal["prefix", "paraphrase", "jailbreak"]
FORMS = (  # for benchmarks that store no rephrasings
    "Please tell me: {q}",
    "I would like to know the following. {q}",
    "{q} Give me your best answer.",
    "Here is a question for you. {q}",
)


def prompts(goal: Example, kind: Words, count: int) -> list[Prompted]:
    """`count` forms of the goal's question at most. Prefixes: the last ones of the released list, as there."""
    asked = goal.prompt or ""
    if kind == "prefix":
        return [(f"prefix {n}", prefixed(asked, text)) for n, text in list(enumerate(PREFIXES, 1))[-count:]]
    if kind == "jailbreak":
        facts = {"subject": goal.tags.get("subject", "this"), "object": goal.tags.get("object", "the picture")}
        return [(f"jailbreak {n}", text.format(**facts) + asked) for n, text in enumerate(JAILBREAKS[:count], 1)]
    lines = [line for line in goal.tags.get("rephrasings", "").split("\n") if line]
    if lines:
        return [(f"paraphrase {n}", other_prompt(text)) for n, text in enumerate(lines[:count], 1)]
    question = bare_question(asked)
    return [(f"form {n}", asked.replace(question, form.format(q=question))) for n, form in enumerate(FORMS[:count], 1)]


def pictures(goal: Example, level: str, seed: int, *, only: bool = False, reference: bool = False) -> list[Pictured]:
    """The picture and its rephrasings up to a level; `only`: that level alone.

    Stored images are taken where the goal names them (tags image_easy …); an easy one is made by noise where it does
    not. One that is missing is left out; reference: the easy one takes its place without a word, as in the released
    code."""
    wanted = LEVELS[: LEVELS.index(level) + 1]
    found: dict[str, ImageRef] = {}
    for name in wanted:
        stored = goal.tags.get(f"image_{name}")
        if stored:
            found[name] = ImageRef(path=Path(stored))
        elif name == "easy" and goal.image is not None:
            found[name] = with_noise(goal.image, seed, goal.id)
        elif reference and "easy" in found:
            found[name] = found["easy"]
    made: list[Pictured] = [(f"image {name}", found[name]) for name in wanted if name in found]
    if only and found:
        last = made[-1] if made[-1][0] == f"image {level}" else None
        return [last] if last else [("", goal.image)]
    return [("image as it is" if made else "", goal.image), *made]


def with_noise(image: ImageRef, seed: int, name: str) -> ImageRef:
    """The picture with salt and pepper drawn by (seed, name)."""
    buffer = io.BytesIO()
    noisy(image.open(), generator(seed, "attack", "noise", name)).save(buffer, "PNG")
    return ImageRef(content=buffer.getvalue())
