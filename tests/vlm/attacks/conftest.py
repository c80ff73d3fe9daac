"""A scripted model that hides its answers behind a rule, and one that never knew them; goals, and who judges."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from mmunlearn.data import Example, ImageRef
from mmunlearn.handle import Decoding, Handle, Response
from mmunlearn.judges.keywords import Keywords

REFUSAL = "I cannot say."


def picture(seed: int) -> ImageRef:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(buffer, "PNG")
    return ImageRef(content=buffer.getvalue())


def people() -> list[Example]:
    """Two persons with a job, an address and a name each."""
    made = []
    for k, (name, job, place) in enumerate((("Ann Lee", "baker", "Oslo"), ("Bo Diaz", "pilot", "Lima"))):
        facts = (
            ("What is the job of this person?", f"This person works as a {job}.", job),
            ("Where does this person live?", f"This person lives in {place}.", place),
            ("What is the name of this person?", f"The name is {name}.", name),
        )
        for n, (question, answer, keyword) in enumerate(facts):
            made.append(
                Example(
                    id=f"p{k}/{n}", image=picture(k), prompt=question, target=answer,
                    tags={"identity": str(k), "keywords": keyword},
                )
            )  # fmt: skip
    return made


class Scripted(Handle):
    """Answers what `knows` gives for an example unless `hides` says so; keeps what it was asked."""

    modality = "vlm"

    def __init__(self, knows=lambda example: "", hides=lambda example: False):
        self.knows, self.hides, self.asked = knows, hides, []

    def respond(self, examples, how: Decoding, seed):
        self.asked += [(example, how) for example in examples]
        return [Response(e.id, {"text": REFUSAL if self.hides(e) else self.knows(e) or REFUSAL}) for e in examples]

    def collate(self, examples, view=None):
        raise AssertionError("asked for more than text")

    score = random_target = fresh = save = load = collate


@pytest.fixture
def scripted():
    """`goals`, a model `hiding(rule)` that knows them all, one that `never` knew; `attacked(attack, handle)`."""
    goals = people()
    questions = {goal.prompt for goal in goals}

    def knows(example):
        """The goal's own answer, whatever is asked about it."""
        found = next((goal for goal in goals if example.id.startswith(goal.id)), None)
        return found.target if found else ""

    def attacked(attack, handle, which=goals, seed=0):
        return list(attack.run(handle, which, Keywords({"binary": True}), Decoding(), seed))

    return SimpleNamespace(
        goals=goals, questions=questions, attacked=attacked, Scripted=Scripted,
        hiding=lambda rule: Scripted(knows, rule), never=Scripted(),
    )  # fmt: skip
