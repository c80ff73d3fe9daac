"""Yes or no: reads a reply's answer and compares it with the target."""

import re

from mmunlearn.judges._words import normal, words
from mmunlearn.judges.base import UNSCORED, Item, Judge, Sample, Verdict
from mmunlearn.settings import Settings

YES, NO = {"yes", "yeah", "yep", "true", "correct"}, {"no", "nope", "false", "incorrect"}
NEGATION = re.compile(r"\b(?:not|isn't|aren't|doesn't|don't|wasn't|weren't|hasn't|haven't)\b")


class YesNo(Judge):
    """Label: yes or no, as the reply says; value 1 where that is the target, else 0.

    The first word decides; where it is neither, a reply that holds words of one side only. Anything else is unscored
    (`lenient`, as POPE's own script and FIUBench's for LLaVA-Phi do: what holds no "yes" is a no).
    A target that is neither yes nor no is unscored too.
    """

    class Config(Settings):
        """How replies that say neither count."""

        lenient: bool = False

    offered = ("yes", "no")
    needs_target = True
    samples = (Sample("Yes, it is.", "yes", "yes"), Sample("no", "no", "yes"))

    def grade(self, items):
        """Yes or no, against the target."""
        return [self._one(item) for item in items]

    def _one(self, item: Item) -> Verdict:
        target, text = item.example.target, item.fields.get("text")
        wanted = said(target) if isinstance(target, str) else None
        if wanted is None or not isinstance(text, str):
            return UNSCORED
        heard = said(text)
        if heard is None and self.config.lenient:
            heard = "yes" if "yes" in words(text) else "no"
        if heard is None:
            return UNSCORED._replace(raw=text)
        return Verdict(float(heard == wanted), heard)


def said(text: str) -> str | None:
    """`yes` or `no`, as the text says; None where it says neither or both.

    >>> said("Yes."), said("There is no dog."), said("yes and no"), said("a dog")
    ('yes', 'no', None, None)
    """
    spoken = words(text)
    sides = {"yes" if word in YES else "no" for word in spoken if word in YES | NO}
    if spoken and spoken[0] in YES | NO:
        first = "yes" if spoken[0] in YES else "no"
        return None if len(sides) > 1 and len(spoken) <= 4 else first
    if len(sides) == 1 and not (sides == {"yes"} and NEGATION.search(normal(text))):
        return sides.pop()
    return None
