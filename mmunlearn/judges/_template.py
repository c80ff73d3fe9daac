"""Templates of model judges: a YAML file says what is asked and what the answer may be; replies are read strictly."""

import math
import re
from collections.abc import Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from mmunlearn.chat.base import AnswerForm
from mmunlearn.errors import UserError, near_miss
from mmunlearn.judges.base import UNSCORED, Item, Verdict
from mmunlearn.settings import Settings, build, digest, read_yaml

FOLDER = Path(__file__).parent / "templates"
PLACE = re.compile(r"\{(\w+)\}")
# What models put before the answer itself: quotes, emphasis, "Score:", "The answer is".
LEAD = (
    r"\A(?:[\s*_#>\"'`(\[]|-\s)*(?:(?:the|this|final|my|overall)\s+)*"
    r"(?:(?:score|rating|grade|answer|verdict|label|result|response|output)\b[\s*_]*(?:is|:|=|\))*)?[\s*_\"'`(\[:]*"
)
NUMBER = r"([-+]?\d+(?:\.\d+)?)"
# After a number: nothing, "/5" or "out of 5", punctuation; never a unit, a word or a second number.
SCORE = r"\bscore\b[\s*_\"'`:=]*" + NUMBER  # behind an explanation
MORE_NUMBERS = re.compile(r"\s*(?:[-–—~,;:/.+*]|\bor\b|\bto\b|\band\b)+\s*\d", re.IGNORECASE)
AFTER = re.compile(r"\s*(?:\Z|[.,;:!)\]*_\"'`–—-]|\(|\n)")


class Number(Settings):
    """An answer that is a number from low to high."""

    low: float
    high: float
    whole: bool = False


class Lookup(Settings):
    """Text that stands for a placeholder, chosen by the example's tag `by`."""

    by: str
    texts: dict[str, str]


class Short(Settings):
    """Responses of at most `chars` characters get `value` without being shown to the model."""

    chars: int
    value: float


class Template(Settings):
    """What a judge model is asked.

    prompt: text with {question}, {reference}, {response} and further {names}: settings' `variables`, tags of the
    example, `lookups`, `variables` of the template, in this order. labels: words the answer may be, with values; or
    number. pattern: regular expression with one group, where the usual form of an answer does not do.
    picture: the question's picture is shown. shows: the graded response is a picture, shown alone or, as `pair`, after
    the original model's for the same prompt. listed: the labels are the judge's setting `classes`, which {classes}
    names. value_tag: a label's value is whether it equals that tag of the example. explained: characters of an
    explanation that may stand before the number, which is then called "score"; the bare number will do.
    """

    what: str
    from_: str = Field(alias="from")
    version: int
    prompt: str
    picture: bool = False
    shows: Literal["", "response", "pair"] = ""
    listed: bool = False
    value_tag: str = ""
    labels: dict[str, float] = Field(default_factory=dict)
    number: Number | None = None
    pattern: str = ""
    explained: int = Field(0, ge=0)
    max_new_tokens: int = Field(16, ge=1)
    short: Short | None = None
    variables: dict[str, str] = Field(default_factory=dict)
    lookups: dict[str, Lookup] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if bool(self.labels or self.listed) == (self.number is not None):
            raise ValueError("give either labels or number")
        if self.explained and self.number is None:
            raise ValueError("explained goes with number")
        try:
            groups = re.compile(self.pattern).groups if self.pattern else 1
        except re.error as error:
            raise ValueError(f"pattern is no regular expression: {error}") from None
        if groups != 1:
            raise ValueError(f"pattern has {groups} groups, must have one")
        if not self.shows and "response" not in PLACE.findall(self.prompt):
            raise ValueError("prompt does not show {response}")
        return self

    def with_classes(self, classes: tuple[str, ...], where: str) -> "Template":
        """The template with its labels; the same where it has labels of its own. Raises UserError without classes."""
        if not self.listed:
            return self
        if len(set(classes)) < 2 or len(set(classes)) != len(classes):
            raise UserError(f"{where}.classes: needs two labels at least, none of them twice (got {list(classes)}).")
        content = self.model_dump(by_alias=True) | {"labels": dict.fromkeys(classes, 1.0)}
        return build(Template, content | {"variables": {**self.variables, "classes": ", ".join(classes)}}, where)

    @cached_property
    def form(self) -> AnswerForm:
        """What a server may be told to keep the answer to."""
        if self.number is not None:
            return AnswerForm((), self.number.low, self.number.high, self.number.whole, self.explained)
        return AnswerForm(tuple(self.labels))

    @property
    def digest(self) -> str:
        """Hash of what decides a verdict."""
        return digest(self.model_dump(mode="json", exclude={"what", "from_"}))

    def rendered(self, item: Item, variables: Mapping[str, str]) -> str:
        """The prompt for an item. Placeholders are filled once, so braces in a response stay what they are."""
        example, text = item.example, item.fields.get("text")
        known: dict[str, str] = dict(self.variables)
        for name, lookup in self.lookups.items():
            value = example.tags.get(lookup.by, "")
            if value in lookup.texts:
                known[name] = lookup.texts[value]
            elif name not in variables:
                raise UserError(
                    f"{example.id}: tag {lookup.by} is {value!r}, and the judge's template knows "
                    f"{', '.join(lookup.texts)}.\nCorrect the data, or give the judge variables.{name}."
                )
        known |= dict(example.tags) | {"question": example.prompt or "", "response": str(text).strip()}
        if isinstance(example.target, str):
            known["reference"] = example.target
        known |= dict(variables)
        missing = [name for name in PLACE.findall(self.prompt) if not known.get(name) and name != "question"]
        missing = [name for name in missing if name != "response"]
        if missing:
            raise UserError(
                f"{example.id}: the judge's template needs {missing[0]!r}, which neither the example nor the settings "
                f"give.\nGive the judge variables.{missing[0]}, or a tag of that name to the example."
            )
        return PLACE.sub(lambda match: known[match[1]], self.prompt).strip()

    def read(self, reply: str) -> Verdict:
        """The verdict that a reply states; unscored where it states none, several, or one that was not offered."""
        found = self._number(reply) if self.number is not None else self._label(reply)
        if found is None:
            return UNSCORED._replace(explanation="not understood", raw=reply)
        return found

    def _label(self, reply: str) -> Verdict | None:
        words = {word.casefold(): word for word in self.labels}
        choice = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
        match = re.search(self.pattern or rf"{LEAD}({choice})(?!\w)", reply, re.IGNORECASE)
        if match is None or (match[1] or "").casefold() not in words:
            return None
        line = reply[: match.end()] + reply[match.end() :].partition("\n")[0]
        if not self.pattern:
            said = {word.casefold() for word in re.findall(rf"(?<!\w)({choice})(?!\w)", line, re.IGNORECASE)}
            if len(said) != 1:
                return None
        label = words[match[1].casefold()]
        return Verdict(self.labels[label], label, _rest(reply, match.end()), reply)

    def _number(self, reply: str) -> Verdict | None:
        assert self.number is not None
        named = list(re.finditer(SCORE, reply, re.IGNORECASE)) if self.explained else []
        if len(named) > 1:
            return None
        match = named[0] if named else re.search(self.pattern or LEAD + NUMBER, reply, re.IGNORECASE)
        if match is None:
            return None
        try:
            value = float(match[1])
        except (TypeError, ValueError):
            return None
        after = reply[match.end() :]
        high = rf"\s*(?:/|out\s+of|of)\s*{self.number.high:g}(?:\.0+)?(?![\d.]\d|\d)"
        after = re.sub(rf"\A{high}", "", after, flags=re.IGNORECASE)
        if not self.pattern:
            # "1. He is a cook" is the first line of a list, "Score: 1. He is a cook" is a score.
            item = re.match(r"[.)][^\S\n]*\S", after) and not re.search(
                r"[a-z]", reply[: match.start(1)], re.IGNORECASE
            )
            if item or MORE_NUMBERS.match(after) or not AFTER.match(after):
                return None
        inside = self.number.low <= value <= self.number.high and math.isfinite(value)
        if not inside or (self.number.whole and value != int(value)):
            return None
        said = reply[: match.start()].strip(" \n.:;,*-")[:500] if named else _rest(reply, match.end())
        return Verdict(value, None, said, reply)


def _rest(reply: str, end: int) -> str:
    return reply[end:].strip(" \n.:;,*-")[:500]


@lru_cache
def read_template(name: str) -> Template:
    """A template of this package by name, or a YAML file by path. Raises UserError with near misses."""
    if name.endswith((".yaml", ".yml")):
        return build(Template, read_yaml(Path(name)), name)
    names = sorted(path.stem for path in FOLDER.glob("*.yaml"))
    if name not in names:
        raise UserError(f"judge template {name!r} is not known. {near_miss(name, names)}")
    return build(Template, read_yaml(FOLDER / f"{name}.yaml"), f"judge template {name}")


def template_names() -> list[str]:
    """Names of the templates of this package."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def variables_of(template: Template) -> list[str]:
    """Placeholders of a template beyond question, reference and response."""
    return [name for name in dict.fromkeys(PLACE.findall(template.prompt)) if name not in _GIVEN]


_GIVEN: Any = ("question", "reference", "response")
