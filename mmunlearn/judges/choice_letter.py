"""Choice letter: reads which option a reply names and compares it with the target's."""

import re

from pydantic import field_validator

from mmunlearn.judges._words import normal
from mmunlearn.judges.base import UNSCORED, Item, Judge, Sample, Verdict
from mmunlearn.settings import Settings

OPEN = r"[\s(\[*\"']*"
NAMING = r"(?:(?:the\s+)?(?:correct\s+)?(?:answer|option|choice)\s*(?:is)?\s*[:=]?\s*)?"
# A lone letter and a word after it ("A dog", "I think") is no choice, unless the letter is no word ("B Paris").
CLOSE = r"(?=[.):,\]*\"';]|\s*\Z|\s*\n|(?<=[B-HJ-Z])\s)(?!\s+(?:or|and)\b)"
LEADING = re.compile(rf"\A{OPEN}(?i:{NAMING}){OPEN}([A-Za-z]){CLOSE}")
INSIDE = re.compile(r"\((?P<a>[A-Z])\)|(?i:answer|option|choice)\s*(?i:is|:)?\s*\(?(?P<b>[A-Z])\b")


class ChoiceLetter(Judge):
    """Labels right or wrong; value 1 or 0. The reply's first letter decides where it stands alone ("B", "(b)",
    "Answer: B"), else the one option that it names or quotes in full; anything else is unscored.

    target: a letter. choices: tag `options` (one a line, without letters) lets a reply that repeats an option count,
    and bounds the letters. `first_letter_only`: the reply's very first character decides, as MLLMU-Bench's script does.
    """

    class Config(Settings):
        """How replies are read. patterns: regular expressions with one group, tried in order instead of all other
        reading; a reply that none fits is wrong, as in scripts that read so (OFFSIDE: "[Tt]he answer is ([A-D])", then
        "^([A-D])$")."""

        first_letter_only: bool = False
        patterns: tuple[str, ...] = ()

        @field_validator("patterns")
        @classmethod
        def _one_group(cls, value: tuple[str, ...]) -> tuple[str, ...]:
            for pattern in value:
                try:
                    groups = re.compile(pattern).groups
                except re.error as error:
                    raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
                if groups != 1:
                    raise ValueError(f"{pattern!r} has {groups} groups, must have one")
            return value

    offered = ("right", "wrong")
    needs_target = True
    samples = (
        Sample("B. Paris", "right", "B", {"options": "Rome\nParis"}), Sample("(a)", "wrong", "B"),
    )  # fmt: skip

    def grade(self, items):
        """Right, wrong, or unscored."""
        return [self._one(item) for item in items]

    def _one(self, item: Item) -> Verdict:
        target, text = item.example.target, item.fields.get("text")
        if not isinstance(text, str) or not isinstance(target, str) or len(target.strip()) != 1:
            return UNSCORED
        if self.config.patterns:
            found = (re.search(pattern, text) for pattern in self.config.patterns)
            said = next((match[1] for match in found if match), "")
            right = said == target.strip()
            return Verdict(float(right), "right" if right else "wrong", said or "not understood")
        options = [line for line in item.example.tags.get("options", "").split("\n") if line]
        heard = text.strip()[:1].upper() if self.config.first_letter_only else named(text, options)
        if not heard or not "A" <= heard <= "Z" or (options and ord(heard) - ord("A") >= len(options)):
            return UNSCORED._replace(raw=text)
        right = heard == target.strip().upper()
        return Verdict(float(right), "right" if right else "wrong", heard)


def named(text: str, options: list[str]) -> str | None:
    """Letter of the option that a reply names; None where it names none or several.

    >>> named("B", []), named("The answer is (C).", []), named("a dog", []), named("paris", ["Rome", "Paris"])
    ('B', 'C', None, 'B')
    """
    letters = [chr(ord("A") + index) for index in range(len(options))]
    quoted = [
        letter for letter, option in zip(letters, options, strict=True) if normal(option) == normal(text.strip(" ."))
    ]
    if len(quoted) == 1:
        return quoted[0]
    match = LEADING.match(text)
    inside = {m["a"] or m["b"] for m in INSIDE.finditer(text)}
    if match:
        heard = match[1].upper()
        return heard if inside <= {heard} else None
    if len(inside) == 1:
        return inside.pop()
    held = [letter for letter, option in zip(letters, options, strict=True) if normal(option) in normal(text)]
    return held[0] if len(held) == 1 and not inside else None
