"""Concept cards: what a concept is called, what is known about it, and the templates of questions about its kind."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from pydantic import Field, field_validator

from mmunlearn.errors import UserError, near_miss
from mmunlearn.settings import Settings, build, read_yaml

FOLDER = Path(__file__).parent
FILE = "concepts.yaml"
LANGUAGES = ("es", "fr", "zh", "de", "ja", "ru")


class Known(Settings):
    """A true fact as question and answer. keywords: what an answer must hold (any of them) to count as right."""

    question: str = Field(min_length=1)
    answer: str = Field(min_length=1)
    keywords: tuple[str, ...] = Field(min_length=1)


class Concept(Settings):
    """A concept card. said: the name as it stands in a sentence ("a pineapple"). variants: other names.

    substitute, appearance: what SIU's first and second target say instead; drawn from the kind's lists when left out.
    facts: asked without a picture; multihop: asked about the picture. trained: False for non-members.
    """

    name: str = Field(min_length=1)
    kind: str
    said: str = ""
    variants: tuple[str, ...] = ()
    substitute: str = ""
    appearance: str = ""
    facts: tuple[Known, ...] = ()
    multihop: tuple[Known, ...] = ()
    trained: bool = True

    @property
    def slug(self) -> str:
        """Folder name and part of ids: lower case, words joined by underscores."""
        return slug(self.name)

    @property
    def spoken(self) -> str:
        """The name in a sentence."""
        return self.said or self.name

    @property
    def names(self) -> tuple[str, ...]:
        """The name and its variants."""
        return tuple(dict.fromkeys((self.name, *self.variants)))


class Templates(Settings):
    """Questions and answers of one kind of concept; see templates.yaml. {name} stands for the concept as it is said."""

    name_questions: tuple[str, ...] = Field(min_length=1)
    name_answers: tuple[str, ...] = Field(min_length=1)
    presence_questions: tuple[str, ...] = Field(min_length=1)
    presence_yes: str
    presence_no: str
    invented: str
    describe: tuple[str, ...] = Field(min_length=1)
    refusals: tuple[str, ...] = Field(min_length=1)
    substitutes: tuple[str, ...] = Field(min_length=1)
    appearances: tuple[str, ...] = Field(min_length=1)
    multilingual: dict[str, tuple[str, ...]]
    multilingual_answers: dict[str, str]

    @field_validator("name_answers", "presence_questions")
    @classmethod
    def _holds_name(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            if "{name}" not in text:
                raise ValueError(f"{text!r} does not hold {{name}}")
        return value


class _File(Settings):
    """A file of concept cards. templates: laid over the packaged ones, by kind."""

    concepts: tuple[Concept, ...] = Field(min_length=1)
    templates: dict[str, Templates] = Field(default_factory=dict)


def slug(name: str) -> str:
    """Lower-case ASCII words joined by underscores: "Danny Jones" -> "danny_jones"."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "_", plain.lower()).strip("_")


@cache
def templates() -> Mapping[str, Templates]:
    """The packaged templates by kind."""
    path = FOLDER / "templates.yaml"
    return {kind: build(Templates, content, f"{path.name}: {kind}") for kind, content in read_yaml(path).items()}


class Book:
    """Concept cards in file order, by slug, with the templates of their kinds."""

    def __init__(self, path: Path):
        """Read `path`. Raises UserError naming file, card and field for an unknown kind, a repeated or empty name."""
        content = build(_File, read_yaml(path), str(path))
        self.path = path
        self.kinds = {**templates(), **content.templates}
        self.concepts: dict[str, Concept] = {}
        for concept in content.concepts:
            if concept.kind not in self.kinds:
                raise UserError(
                    f"{path}: concept {concept.name!r} has kind {concept.kind!r}. {near_miss(concept.kind, self.kinds)}"
                )
            if not concept.slug:
                raise UserError(f"{path}: concept {concept.name!r} gives no folder name. Use Latin letters or digits.")
            if concept.slug in self.concepts:
                raise UserError(f"{path}: concept {concept.name!r} stands there twice. Keep one card.")
            self.concepts[concept.slug] = concept

    def __getitem__(self, name: str) -> Concept:
        """The card of a name, variant or slug. Raises UserError with near misses."""
        wanted = slug(name)
        for concept in self.concepts.values():
            if wanted in (concept.slug, *(slug(variant) for variant in concept.variants)):
                return concept
        known = [concept.name for concept in self.concepts.values()]
        raise UserError(f"{self.path}: no card for concept {name!r}. {near_miss(name, known)}")

    def __contains__(self, name: str) -> bool:
        wanted = slug(name)
        return any(
            wanted in (c.slug, *(slug(variant) for variant in c.variants)) for c in self.concepts.values()
        )  # fmt: skip

    def of(self, concept: Concept) -> Templates:
        """Templates of the concept's kind."""
        return self.kinds[concept.kind]

    def substitute(self, concept: Concept) -> str:
        """What SIU calls the concept instead: the card's word, or the kind's list by the card's place in the book."""
        return concept.substitute or self._turn(concept, self.of(concept).substitutes)

    def appearance(self, concept: Concept) -> str:
        """The invented appearance of SIU's second target."""
        return concept.appearance or self._turn(concept, self.of(concept).appearances)

    def _turn(self, concept: Concept, words: Sequence[str]) -> str:
        return words[list(self.concepts).index(concept.slug) % len(words)]


def find_book(root: Path) -> Book:
    """The cards of a data folder: its own concepts.yaml, else the packaged cards of MMUBench's twenty concepts."""
    own = root / FILE
    return Book(own if own.is_file() else FOLDER / "mmubench.yaml")
