"""VQA answer: soft accuracy against ten people's answers, else equality after VQA's normalisation."""

import re

from mmunlearn.judges._words import lines, normal
from mmunlearn.judges.base import UNSCORED, Item, Judge, Sample, Verdict
from mmunlearn.settings import Settings

PEOPLE = 10
NUMBERS = {
    word: str(value)
    for value, word in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    )
} | {"none": "0"}  # fmt: skip
ARTICLES = {"a", "an", "the"}


class VqaAnswer(Judge):
    """Value 0..1; labels right (1), partly, wrong (0).

    Tag `answers` (one a line) of ten or more people: Goyal et al. 2017's accuracy, the mean over the people of
    min(1, others who agree / 3). Fewer answers are alternatives: 1 where one of them is given. No tag: the target.
    Normalised as the VQA evaluation does: case, punctuation, articles, number words. Differs from it: apostrophes are
    dropped on both sides, where the evaluation repairs a list of contractions. An example without an answer is
    unscored.
    """

    class Config(Settings):
        """contains: a reply that holds an answer as whole words counts as that answer (for models that talk)."""

        contains: bool = False

    offered = ("right", "partly", "wrong")
    needs_target = True
    samples = (
        Sample("Two dogs.", "right", "2 dogs"), Sample("red", "wrong", "blue"),
        Sample("red", "partly", None, {"answers": "\n".join(["red"] * 2 + ["blue"] * 8)}),
    )  # fmt: skip

    def grade(self, items):
        """Accuracy of each answer."""
        return [self._one(item) for item in items]

    def _one(self, item: Item) -> Verdict:
        text, target = item.fields.get("text"), item.example.target
        people = [plain_answer(answer) for answer in lines(item.example.tags.get("answers", ""))]
        if not people and isinstance(target, str) and target.strip():
            people = [plain_answer(target)]
        if not isinstance(text, str) or not people:
            return UNSCORED
        given = plain_answer(text)
        agrees = [self._same(given, answer) for answer in people]
        if len(people) < PEOPLE:
            value = float(any(agrees))
        else:
            value = sum(min(1.0, (sum(agrees) - own) / 3) for own in agrees) / len(people)
        return Verdict(value, "right" if value == 1 else "partly" if value > 0 else "wrong", given)

    def _same(self, given: str, answer: str) -> bool:
        if self.config.contains and answer:
            return f" {answer} " in f" {given} "
        return given == answer


def plain_answer(text: str) -> str:
    """An answer as the VQA evaluation compares it.

    >>> plain_answer("The two dogs."), plain_answer("1,000"), plain_answer("3.5"), plain_answer("don't-know")
    ('2 dogs', '1000', '3.5', 'dont know')
    """
    text = normal(text).replace("'", "")
    text = re.sub(r"(?<=\d),(?=\d)", "", text)
    text = re.sub(r"(?<!\d)\.|\.(?!\d)", "", text)
    text = re.sub(r"[^\w\s.:]|_|(?<!\d):|:(?!\d)", " ", text)
    return " ".join(NUMBERS.get(word, word) for word in text.split() if word not in ARTICLES)
