"""A budget spread over prompts and pictures: every pair once before any is asked a second time."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from mmunlearn.attacks.base_goals import Trial
from mmunlearn.data import Example, ImageRef

Prompted = tuple[str, str]  # where it comes from, text
Pictured = tuple[str, ImageRef | None]


def spread(
    goal: Example, index: int, prompts: Sequence[Prompted], pictures: Sequence[Pictured], budget: int
) -> Iterator[Trial]:
    """`budget` trials over all pairs of prompts and pictures, walked diagonally, so that a small budget sees every
    prompt and every picture; a pair that comes again is another sample of its answer."""
    pairs = [
        (prompts[i], pictures[(i + shift) % len(pictures)])
        for shift in range(len(pictures))
        for i in range(len(prompts))
    ]
    for number in range(budget):
        (where, text), (what, picture) = pairs[number % len(pairs)]
        sample = number // len(pairs)
        origin = ", ".join(part for part in (where, what, f"sample {sample + 1}") if part)
        yield Trial(replace(goal, prompt=text, image=picture, choices=()), float(-number), index, origin)
