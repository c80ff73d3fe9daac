"""Requests: a style, an object, a pair of both, or several of these, are to be forgotten."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import model_validator

from mmunlearn.errors import UserError, near_miss
from mmunlearn.settings import Settings

from .names import Names, spelled, words
from .prompts import PHOTO, prompt

Kind = Literal["style", "object", "pair", "sequence"]


class Request(Settings):
    """What is to be forgotten. name: of a style or object; of a pair "style/object"; of a sequence a list of such names
    (or mappings {kind, name}), which are forgotten together."""

    kind: Kind
    name: str | tuple[str | dict[str, Any], ...]

    @model_validator(mode="after")
    def _shaped(self) -> Self:
        if (self.kind == "sequence") == isinstance(self.name, str):
            raise ValueError("name is a list for kind sequence and one name for the other kinds")
        if self.kind == "sequence" and not self.name:
            raise ValueError("name is an empty list")
        return self


@dataclass(frozen=True)
class Surrogate:
    """Words that take a concept's place. object: None for the next object of the list."""

    style: str = PHOTO
    object: str | None = None


@dataclass(frozen=True)
class Concept:
    """One thing to forget: a style, an object or, with both, the pair. other: words in the place of the style, for an
    object in the place of the object."""

    style: str | None
    object: str | None
    other: str

    @property
    def kind(self) -> str:
        """What it is: "style", "object" or "pair"."""
        return "pair" if self.style and self.object else "style" if self.style else "object"

    @property
    def title(self) -> str:
        """Its name as a request gives it: "Van_Gogh", "Dogs" or "Van_Gogh/Dogs"."""
        return "/".join(name for name in (self.style, self.object) if name)

    @property
    def phrase(self) -> str:
        """The words that stand for the concept in a prompt."""
        return self._in_style(self.style) if self.kind == "pair" else words(self.style or self.object or "")

    @property
    def surrogate(self) -> str:
        """The words that stand there instead."""
        return self._in_style(self.other) if self.kind == "pair" else self.other

    def _in_style(self, style: str | None) -> str:
        return f"{words(self.object or '')} image in {words(style or '')}"

    def holds(self, style: str, thing: str) -> bool:
        """Whether a picture of `thing` in `style` shows it."""
        return self.style in (None, style) and self.object in (None, thing)

    def replaced(self, style: str, thing: str, form: str) -> str:
        """The prompt for `thing` in `style` with the surrogate in the concept's place."""
        return prompt(style, self.other, form) if self.style is None else prompt(self.other, thing, form)


def concepts(request: Request | None, names: Names, surrogate: Surrogate, field: str) -> tuple[Concept, ...]:
    """The concepts of a request, in its order; None: the first style. UserError naming `field` for an unknown name, a
    name that stands there twice or a request that leaves nothing."""
    if request is None:
        return (_concept("style", names.styles[0], names, surrogate, field),)
    entries = [_entry(entry, names, field) for entry in request.name] if request.kind == "sequence" else []
    entries = entries or [(request.kind, str(request.name))]
    found = tuple(_concept(kind, name, names, surrogate, f"{field}.name") for kind, name in entries)
    for place, concept in enumerate(found):
        if concept in found[:place]:
            raise UserError(f"{field}.name: {concept.title} stands there twice.")
    return found


def _entry(entry: Any, names: Names, field: str) -> tuple[str, str]:
    """(kind, name) of an entry of a sequence."""
    if isinstance(entry, str):
        if "/" in entry:
            return "pair", entry
        kinds = [kind for kind, known in (("style", names.themes), ("object", names.objects)) if spelled(entry, known)]
        if not kinds:
            near = near_miss(entry, (*names.styles, *names.objects))
            raise UserError(f"{field}.name: {entry!r} is no style, object or style/object of the data. {near}")
        return kinds[0], entry
    if set(entry) != {"kind", "name"} or entry["kind"] not in ("style", "object", "pair"):
        raise UserError(f"{field}.name: {entry!r:.80} is no {{kind: style, object or pair; name: …}}.")
    return entry["kind"], str(entry["name"])


def _concept(kind: str, name: str, names: Names, surrogate: Surrogate, field: str) -> Concept:
    if kind == "style":
        return Concept(names.style(name, field), None, surrogate.style)
    if kind == "object":
        thing = names.object(name, field)
        return Concept(None, thing, _other(thing, names, surrogate))
    style, slash, thing = name.partition("/")
    if not slash or not style or not thing:
        raise UserError(f"{field}: {name!r} is no pair. Write style/object, for example {_example(names)}.")
    style, thing = names.style(style, field), names.object(thing, field)
    return Concept(style, thing, surrogate.style)


def _other(thing: str, names: Names, surrogate: Surrogate) -> str:
    """The surrogate of an object: the words that the settings give, or the next object of the list."""
    if surrogate.object:
        return surrogate.object
    return words(names.objects[(names.objects.index(thing) + 1) % len(names.objects)])


def _example(names: Names) -> str:
    return f"{names.styles[0]}/{names.objects[0]}"


def any_holds(gone: Sequence[Concept], style: str, thing: str) -> bool:
    """Whether a picture of `thing` in `style` shows any of the concepts."""
    return any(concept.holds(style, thing) for concept in gone)
