"""Multilingual: the question in German, French, Spanish or Italian, the answer wanted in English."""

from collections.abc import Iterator, Sequence

from pydantic import Field

from mmunlearn.attacks.base import Access, Metered
from mmunlearn.attacks.base_goals import InputAttack, InputSettings, Trial
from mmunlearn.data import Example
from mmunlearn.errors import UserError

from ..asking import Ways, rewordings
from ..translations import LANGUAGES, translated, wrapped


class Multilingual(InputAttack):
    """What was unlearned in English, asked in other languages about the same picture.

    What it is: templates for ten properties of a pictured person (name, birth, address, job, doctor …), recognised by
    the English question's words; after them, and alone for everything else, the English question behind a sentence of
    the other language. No translation model is used. Access: text.
    """

    class Config(InputSettings):
        """languages: which, in order."""

        candidates: int = Field(2 * len(LANGUAGES), ge=1)
        languages: tuple[str, ...] = Field(LANGUAGES, min_length=1)

    access = Access.TEXT
    suite = "vqa"
    paper = "Hong et al., 'ConceptVectors', arXiv 2406.11614 (translated jailbreak set); templates of this project"
    known_failures = {"English-only models": "a model that never read the language cannot be asked in it"}

    def search(self, handle: Metered, goals: Sequence[Example], seed: int) -> Iterator[Trial]:
        """Candidates in a fixed order: every language's template, then every language's frame; nothing is asked."""
        unknown = sorted(set(self.config.languages) - set(LANGUAGES))
        if unknown:
            raise UserError(f"attack[multilingual].languages: {unknown[0]!r} has no templates. {', '.join(LANGUAGES)}.")
        yield from rewordings(goals, self._ways)

    def _ways(self, goal: Example) -> Ways:
        question = goal.prompt or ""
        for language in self.config.languages:
            if asked := translated(question, language):
                yield f"asked in {language}", asked
        for language in self.config.languages:
            yield f"frame in {language}", wrapped(question, language)
