"""Training without the prompt now and then, which teaches the unconditional half of guidance."""

from collections.abc import Sequence

from mmunlearn.data import Example
from mmunlearn.handle import View
from mmunlearn.seeds import generator


def with_dropped(
    prompts: Sequence[str], examples: Sequence[Example], view: View | None, often_frac: float
) -> list[str]:
    """The examples' prompts, in `often_frac` of training views the empty one (Ho and Salimans 2022, algorithm 1).

    Keyed by (seed, example, epoch), so neither batches nor processes change it. Examples without picture keep theirs.
    """
    if view is None or not often_frac:
        return list(prompts)
    seen = []
    for prompt, example, epoch in zip(prompts, examples, view.epochs, strict=True):
        draw = generator(view.seed, "prompt", example.key, int(epoch))
        dropped = example.image is not None and draw.random() < often_frac
        seen.append("" if dropped else prompt)
    return seen
