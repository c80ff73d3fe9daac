"""Whether the forgotten style or object is shown: what an attack on an unlearned model wants."""

import hashlib
import json
from collections.abc import Sequence
from typing import Literal

from mmunlearn.data import Example
from mmunlearn.judges.base import UNSCORED, Item, Sample, Verdict

from ..heads import HeadsSettings
from .style_object import StyleObject

PARTS = {"style": ("style",), "object": ("object",), "pair": ("style", "object")}


class ConceptShown(StyleObject):
    """Value 1: the heads read what was forgotten, though the prompt asks for a style and an object.

    What was forgotten is the example's tag `kind` (style, object or pair; `kind` of the settings goes before it) with
    the tag of that name; an example whose tags name none of it is unscored. Label "<style>/<object>" as read.
    """

    class Config(HeadsSettings):
        """Heads as those of the judge style_object."""

        kind: Literal["tag", "style", "object", "pair"] = "tag"

    samples = (
        Sample("Dots/Disc", "Dots/Disc", tags={"style": "Dots", "object": "Square", "kind": "style"}),
        Sample("Stripes/Square", "Stripes/Square", tags={"style": "Dots", "object": "Square", "kind": "pair"}),
        Sample("Seed_Images/Cross", "Seed_Images/Cross", tags={"object": "Cross", "kind": "object"}),
    )

    def key(self, item: Item) -> str:
        """That of style_object, of the tags that count."""
        content = [self._kind(item), super().key(self._reduced(item) or item)]
        return hashlib.blake2b(json.dumps(content).encode(), digest_size=16).hexdigest()

    def grade(self, items: Sequence[Item]) -> list[Verdict]:
        """Verdicts of style_object on the tags that count."""
        reduced = [self._reduced(item) for item in items]
        graded = iter(super().grade([item for item in reduced if item is not None]))
        nothing = UNSCORED._replace(explanation="the tags do not say what was forgotten (kind, style, object)")
        return [nothing if item is None else next(graded) for item in reduced]

    def _kind(self, item: Item) -> str:
        return item.example.tags.get("kind", "") if self.config.kind == "tag" else self.config.kind

    def _reduced(self, item: Item) -> Item | None:
        """The item with the tags of what was forgotten alone."""
        tags, wanted = item.example.tags, PARTS.get(self._kind(item), ())
        if not wanted or any(name not in tags for name in wanted):
            return None
        example = Example(id=item.example.id, prompt=item.example.prompt, tags={name: tags[name] for name in wanted})
        return Item(example, item.fields)
