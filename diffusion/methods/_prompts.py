"""How a concept is put into words: prompts that methods train on, and surrogate prompts of captions."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from mmunlearn.data import Example, Split
from mmunlearn.errors import UserError


def worded(split: Split, wording: str) -> Split:
    """Prompts and targets made from `wording`: "{prompt}" is the example's own; other words in braces are its tags.

    In a target, {phrase} is the surrogate's. Raises UserError for a word that an example lacks.
    """
    if wording == "{prompt}":
        return split

    def change(example: Example) -> Example:
        tags = dict(example.tags)
        words = {**tags, "prompt": example.prompt or ""}
        other = {**tags, "prompt": str(example.target), "phrase": tags.get("surrogate", "")}
        try:
            target = wording.format(**other) if isinstance(example.target, str) else example.target
            return replace(example, prompt=wording.format(**words), target=target)
        except (KeyError, IndexError, ValueError) as error:
            raise UserError(
                f"{example.id}: wording {wording!r} cannot be filled in ({error}). Words: {', '.join(words)}."
            ) from None

    return split.mapped(change)


def phrase_of(concept: Split) -> str:
    """The concept's own words (tag `phrase`). Raises UserError where they are missing."""
    if not len(concept) or not concept[0].tags.get("phrase"):
        raise UserError(f"split {concept.name!r}: its examples lack the tag phrase, the concept's words.")
    return concept[0].tags["phrase"]


def surrogates(concept: Split) -> Callable[[Example, int], Example]:
    """A relabelling of pictures: the target becomes the surrogate prompt of the picture's caption.

    Raises UserError for captions that are none of the concept's prompts.
    """
    table: Mapping[str | None, object] = {example.prompt: example.target for example in concept}

    def change(example: Example, _: int) -> Example:
        target = table.get(example.prompt)
        if not isinstance(target, str):
            raise UserError(
                f"{example.id}: its caption {example.prompt!r} has no surrogate prompt in split {concept.name!r}."
            )
        return example.with_target(target)

    return change
