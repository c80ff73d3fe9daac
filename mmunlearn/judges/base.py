"""Judge: grades responses; a verdict may be `unscored`, which is kept, counted and left out of every mean."""

import hashlib
import inspect
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, final

from mmunlearn.data import Example
from mmunlearn.settings import Settings, build, plain


class Verdict(NamedTuple):
    """value: NaN = unscored. label: one of what the judge offers. raw: what a judge model said, verbatim.

    again: unscored because no answer came (a server that failed), not because of what was said; the next run asks
    again.
    """

    value: float
    label: str | None = None
    explanation: str = ""
    raw: str = ""
    again: bool = False

    @property
    def scored(self) -> bool:
        """Whether the verdict counts."""
        return not math.isnan(self.value)


UNSCORED = Verdict(math.nan)


@dataclass(frozen=True)
class Item:
    """An example and the fields of the response to it."""

    example: Example
    fields: Mapping[str, Any]


class Sample(NamedTuple):
    """A response and the label it must get, for the contract checks; of a judge of pictures `text` names the picture,
    "<style>/<object>" of mmunlearn.testing.picture_world."""

    text: str
    label: str
    target: str | None = None
    tags: Mapping[str, str] = {}
    prompt: str = "Who is shown?"


class Judge(ABC):
    """A rule, classifier, detector or model that grades. Calls are cached by content."""

    class Config(Settings):
        """Settings of the judge; every field has a default."""

    version: ClassVar[str] = "1"  # bump when prompt, parser or model changes
    offered: ClassVar[tuple[str, ...]] = ()  # the only labels that count
    needs_target: ClassVar[bool] = False  # compares with the target or a tag; without one the item is unscored
    label_tags: ClassVar[tuple[str, ...]] = ()  # a label's parts, split at "/", answer these tags: confusion tables
    known_failures: ClassVar[Mapping[str, str]] = {}
    reads: ClassVar[Literal["text", "pictures"]] = "text"  # responses that the contract's checks build
    beside_original: ClassVar[bool] = False  # compares with the original's picture (original_image)
    # Of the contract checks: settings, and responses with the label that each must get (at least two labels).
    check_settings: ClassVar[Mapping[str, Any]] = {}
    samples: ClassVar[tuple["Sample", ...]] = ()
    check_needs: ClassVar[str] = ""  # an optional package without which the checks are skipped

    def __init__(self, config: Settings | Mapping[str, Any] | None = None):
        if config is None or isinstance(config, Mapping):
            config = build(type(self).Config, config or {}, f"judge[{self.name()}]")
        self.config: Any = config

    @classmethod
    def name(cls) -> str:
        """The registered name: the stem of the file that defines the class."""
        return cls.__module__.rpartition(".")[2]

    def ready(self) -> None:  # noqa: B027  (most judges need nothing)
        """Raise UserError when the judge cannot work here (no model named, a package absent); loads nothing."""

    @property
    def batch(self) -> int:
        """Items graded between two writes to the disk: what a killed process can lose."""
        return 1024

    @abstractmethod
    def grade(self, items: Sequence[Item]) -> Sequence[Verdict]:
        """One verdict an item, in order, each independent of the other items."""

    def key(self, item: Item) -> str:
        """Cache key: judge, version, settings, prompt, target, image content and response (a picture by its hash)."""
        image = item.example.image.digest if item.example.image else ""
        fields = dict(item.fields)
        for name in ("image", "original_image"):
            if f"{name}_hash" in fields:
                fields.pop(name, None)  # where the file lies is no part of what it shows
        content = [
            self.name(), self.version, plain(self.config), item.example.prompt, item.example.target, image, fields,
        ]  # fmt: skip
        text = json.dumps(content, sort_keys=True, default=str)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    @final
    def __call__(self, items: Sequence[Item], cache: MutableMapping[str, Verdict]) -> list[Verdict]:
        """Verdicts from the cache where it has them, else graded in one batch; labels not offered become unscored."""
        keys = [self.key(item) for item in items]
        missing = {key: item for key, item in zip(keys, items, strict=True) if key not in cache}
        for key, verdict in zip(missing, self.grade(list(missing.values())) if missing else (), strict=True):
            unknown = verdict.label is not None and self.offered and verdict.label not in self.offered
            cache[key] = UNSCORED._replace(raw=verdict.raw or str(verdict.label)) if unknown else verdict
        return [cache[key] for key in keys]


def is_concrete(candidate: object) -> bool:
    """Whether `candidate` is a judge class that can be constructed."""
    return inspect.isclass(candidate) and issubclass(candidate, Judge) and not inspect.isabstract(candidate)
