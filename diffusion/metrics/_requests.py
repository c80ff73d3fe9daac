"""What a request asks to be forgotten, as metrics see it: a style, an object, or a style with an object."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field

from mmunlearn.errors import UserError
from mmunlearn.metrics.base import Sight
from mmunlearn.settings import Settings

from ..canvas.names import PHOTOS

KINDS = ("style", "object", "pair")


class RequestSettings(Settings):
    """request: {kind: style | object | pair, name} where it is not the run's own (the last that the model has been
    through). exclude_seed_images: the photographs are no style to be kept, so they are in no mean over styles (the
    authors' answer, issue 13); false: the other public reading, one style more in each mean (diffusion 1.5)."""

    request: dict[str, Any] = Field(default_factory=dict)
    exclude_seed_images: bool = True


@dataclass(frozen=True)
class Concept:
    """One thing to forget: a style, an object or, with both, the pair; names are compared without case, blanks and
    underscores."""

    style: str | None = None
    object: str | None = None

    @property
    def kind(self) -> str:
        """style, object or pair."""
        return "pair" if self.style is not None and self.object is not None else "style" if self.style else "object"

    def shown(self, styles: np.ndarray, objects: np.ndarray) -> np.ndarray:
        """Which of the prompts, (n,) names, ask for it: (n,) bool."""
        mask = np.ones(len(styles), dtype=bool)
        if self.style is not None:
            mask &= np.fromiter((folded(name) == self.style for name in styles), bool, len(styles))
        if self.object is not None:
            mask &= np.fromiter((folded(name) == self.object for name in objects), bool, len(objects))
        return mask


def folded(name: object) -> str:
    """A name without case, with blanks for underscores."""
    return str(name).strip().replace("_", " ").casefold()


def last_concepts(sight: Sight, config: RequestSettings, metric: str) -> tuple[Concept, ...]:
    """Concepts of the request that the metric is about (a sequence is forgotten together and has several); none where
    the model has been through no request, as an original has not."""
    if config.request:
        return concepts(config.request, sight, metric)
    if sight.requests and sight.requests[-1].get("request"):
        return concepts(sight.requests[-1]["request"], sight, metric)
    return ()


def all_concepts(sight: Sight, asked: tuple[Mapping[str, Any], ...], metric: str) -> tuple[Concept, ...]:
    """Concepts of every request that the model has been through, in order; `asked` stands for the run's own."""
    requests = asked or tuple(settings["request"] for settings in sight.requests if settings.get("request"))
    return tuple(concept for request in requests for concept in concepts(request, sight, metric))


def concepts(request: Mapping[str, Any], sight: Sight, metric: str) -> tuple[Concept, ...]:
    """Concepts of one request {kind, name}. Raises UserError for another shape."""
    kind, name = request.get("kind"), request.get("name")
    if kind == "sequence" and not isinstance(name, str):
        entries = [_entry(entry, sight) for entry in name or ()]
    else:
        entries = [dict(request)]
    return tuple(_concept(entry, metric) for entry in entries)


def _concept(entry: Mapping[str, Any], metric: str) -> Concept:
    kind, name = entry.get("kind"), entry.get("name")
    if kind not in KINDS or not isinstance(name, str):
        raise UserError(f"metric {metric}: request {dict(entry)!r:.80} is no {{kind: style, object or pair; name: …}}.")
    if kind == "style":
        return Concept(style=folded(name))
    if kind == "object":
        return Concept(object=folded(name))
    style, slash, thing = name.partition("/")
    if not slash:
        raise UserError(f"metric {metric}: {name!r} is no pair. Write style/object, for example Van_Gogh/Dogs.")
    return Concept(folded(style), folded(thing))


def _entry(entry: Any, sight: Sight) -> dict[str, Any]:
    """An entry of a sequence: a mapping, or a name whose kind the prompts tell."""
    if isinstance(entry, Mapping):
        return dict(entry)
    name = str(entry)
    if "/" in name:
        return {"kind": "pair", "name": name}
    known = {folded(style) for style in tag(sight.rows, "style")}
    return {"kind": "style" if folded(name) in known else "object", "name": name}


def tag(rows: Any, name: str) -> np.ndarray:
    """Values of a tag: column `tag.<name>`, or the mapping in column `tags`; None where a row has none."""
    column = np.full(len(rows), None, dtype=object)
    if f"tag.{name}" in rows:
        column[:] = [value if isinstance(value, str) else None for value in rows[f"tag.{name}"]]
    elif "tags" in rows:
        column[:] = [value.get(name) if isinstance(value, Mapping) else None for value in rows["tags"]]
    return column


def kept_styles(styles: np.ndarray, gone: tuple[Concept, ...], *, exclude_seed_images: bool) -> list[str]:
    """Styles among the prompts that no concept of `gone` forgets whole, sorted."""
    forgotten = {concept.style for concept in gone if concept.kind == "style"}
    names = sorted({name for name in styles if name is not None and folded(name) not in forgotten})
    return [name for name in names if name != PHOTOS or not exclude_seed_images]


def kept_objects(objects: np.ndarray, gone: tuple[Concept, ...]) -> list[str]:
    """Objects among the prompts that no concept of `gone` forgets whole, sorted."""
    forgotten = {concept.object for concept in gone if concept.kind == "object"}
    return sorted({name for name in objects if name is not None and folded(name) not in forgotten})
