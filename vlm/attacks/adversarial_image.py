"""Adversarial image: projected gradient descent on the picture within an L-infinity budget."""

from collections.abc import Iterator, Sequence

from pydantic import Field

from mmunlearn.attacks.base import Access, Metered
from mmunlearn.attacks.base_goals import InputAttack, Trial
from mmunlearn.data import Example

from ..asking import repictured
from ..learning import LearnSettings, Teacher
from ..perturbations import Pixels


class AdversarialImage(InputAttack):
    """A picture of whole levels, none further than `eps` from the goal's own, that makes answers likelier.

    The default learns one perturbation on the true answers of goals about other subjects (a universal adversarial
    image) and lays it over this goal's picture. aim=gold pushes the goal's own answer, the usual upper bound: it leaks
    the answer, so read it beside the retrained model's figure alone. aim=opening pushes an affirmative opening.
    Gradients pass the model's own image processor, which must be one of torch. Access: gradients.
    """

    class Config(LearnSettings):
        """eps: greatest change of a value, in levels of 255. rate: levels a step."""

        candidates: int = Field(1, ge=1)
        steps: int = Field(40, ge=1)
        eps: int = Field(8, ge=1, le=255)
        rate: float = Field(1.0, gt=0)

    access = Access.GRADIENTS
    suite = "vqa"
    toy = {"aim": "opening", "steps": 4, "every": 2, "candidates": 2}
    paper = "Madry et al., 'Towards Deep Learning Models Resistant to Adversarial Attacks', ICLR 2018 (PGD)"
    known_failures = {"aim=gold": "any model can be made to say the answer that the attack was given"}

    def __init__(self, config=None):
        super().__init__(config)
        self.teacher = Teacher(pictured=True)

    def begin(self, goals: Sequence[Example]) -> None:
        """Other goals are the lessons."""
        self.teacher.begin(goals)

    def search(self, handle: Metered, goals: Sequence[Example], seed: int) -> Iterator[Trial]:
        """The goal's picture under each perturbation kept, the last first; goals without a picture have none."""
        kind = Pixels(self.config.eps, self.config.rate)
        seen = [index for index, goal in enumerate(goals) if goal.image is not None]
        taught = self.teacher.taught(handle, kind, [goals[index] for index in seen], self.config, seed)
        for index, learnt in zip(seen, taught, strict=True):
            for one in learnt:
                candidate = repictured(goals[index], kind.picture(goals[index], one.value))
                yield Trial(candidate, float(one.step), index, f"step {one.step}, loss {one.loss_nats:.2f}")
