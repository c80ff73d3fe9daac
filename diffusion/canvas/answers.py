"""The answer set: what every model is asked to draw, whatever it was made to forget."""

from collections.abc import Iterator, Sequence

from mmunlearn.data import Example

from .names import Names
from .prompts import prompt


def file_name(style: str, thing: str, seed: int) -> str:
    """Name of an answer's picture in the layout of the benchmark's answer sets."""
    return f"{style}_{thing}_seed{seed}.jpg"


def answer_set(names: Names, seeds: Sequence[int], form: str) -> tuple[Example, ...]:
    """Themes x objects x seeds without pictures; 51 x 20 x 5 = 5,100 in the full edition.

    Tags: style, object, seed, file and index, the prompt's place in the grid of themes and objects (for its latents).
    The order goes round, a seed at a time, so that the first N examples spread over all themes and objects alike.
    """
    return tuple(
        Example(
            id=f"unlearncanvas/answers/{style}_{thing}_seed{seed}", prompt=prompt(style, thing, form),
            tags={
                "style": style, "object": thing, "seed": str(seed), "file": file_name(style, thing, seed),
                "index": str(names.themes.index(style) * len(names.objects) + names.objects.index(thing)),
            },
        )
        for seed in seeds
        for style, thing in _round(names)
    )  # fmt: skip


def _round(names: Names) -> Iterator[tuple[str, str]]:
    """Every theme with every object: in turn t theme number k is paired with object number k + t."""
    for turn in range(len(names.objects)):
        for place, style in enumerate(names.themes):
            yield style, names.objects[(place + turn) % len(names.objects)]
