"""Text probe: a fact about a picture asked without the picture, by the subject's name."""

import re
from collections.abc import Iterator, Sequence

from pydantic import Field

from mmunlearn.attacks.base import Access, Metered
from mmunlearn.attacks.base_goals import InputAttack, InputSettings, Trial
from mmunlearn.data import Example

from ..asking import Ways, name_of, rewordings
from ..question_forms import read_form

SHOWN = re.compile(
    r"\b(?:this|that|the) (?:person|man|woman|individual|player|footballer|patient|character|celebrity|object|"
    r"animal|thing|plant|place|building|landmark)"
    r"(?: (?:shown |seen |depicted )?in (?:this|the) (?:picture|image|photo|scan))?",
    re.IGNORECASE,
)
PICTURED = re.compile(r",? ?\b(?:shown |seen |depicted )?in (?:this|the) (?:picture|image|photo|photograph|scan)", re.I)


class TextProbe(InputAttack):
    """The same fact from text alone: unlearning that acts on the picture's side leaves it in the language model.

    The name is the benchmark's where its tags say it, else the answer of another goal about the same subject that asks
    for it (an attacker who knows whom he asks about). A question for the name itself gets no name. Last comes the
    question without picture and name, which shows what its words alone give. Access: text.
    """

    class Config(InputSettings):
        """Budget."""

        candidates: int = Field(4, ge=1)

    access = Access.TEXT
    suite = "vqa"
    paper = "Ma et al., FIUBench 2025, and Liu et al., MLLMU-Bench 2025 (unimodal questions about pictured facts)"
    known_failures = {"no name": "where no tag and no other goal gives the name, one candidate is left"}

    def __init__(self, config=None):
        super().__init__(config)
        self.among: tuple[Example, ...] = ()

    def begin(self, goals: Sequence[Example]) -> None:
        """Other goals may say the name."""
        self.among = tuple(goals)

    def search(self, handle: Metered, goals: Sequence[Example], seed: int) -> Iterator[Trial]:
        """Candidates in a fixed order; the model is not asked."""
        among = self.among or goals
        yield from rewordings(goals, lambda goal: _named(goal, name_of(goal, among)), picture=False)


def _named(goal: Example, name: str) -> Ways:
    question = goal.prompt or ""
    if name:
        put = PICTURED.sub("", SHOWN.sub(name, question))
        if name in put:
            yield "name in its place", put
            form = read_form(put)
            if form is not None and form.statement:
                yield "cloze with the name", form.statement
        yield "name before", f"This is about {name}. {question}"
        yield "name as a topic", f"{name}: {question}"
    yield "no picture", question
