"""Judges of pictures: each picture is decoded and shown to the network once a process, whatever is asked about it."""

import hashlib
import json
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from mmunlearn.data import ImageRef
from mmunlearn.errors import UserError
from mmunlearn.judges.base import UNSCORED, Item, Judge, Verdict
from mmunlearn.settings import Settings
from mmunlearn.threads import mapped

KEPT = 100_000  # answers of networks that a process keeps
DECODED = 64  # pictures held decoded at a time
SAID: "OrderedDict[tuple[str, str], Any]" = OrderedDict()  # (network, picture) -> what the network said


class PictureSettings(Settings):
    """batch_size: pictures that the network sees at a time."""

    batch_size: int = Field(16, ge=1)


class PictureJudge(Judge):
    """Grades `fields["image"]`, the absolute path of a picture, which `fields["image_hash"]` identifies.

    A subclass says what its network is (`network`), what it says of pictures (`say`) and what follows (`verdict`).
    Settings that only decide what follows share one answer a picture. Without a readable picture an item is unscored.
    """

    Config = PictureSettings  # type: ignore[assignment]
    reads: Literal["text", "pictures"] = "pictures"  # type: ignore[misc]

    @property
    @abstractmethod
    def network(self) -> str:
        """Identity of the network: its name with the hash of its file."""

    @abstractmethod
    def say(self, pictures: Sequence[Any]) -> Sequence[Any]:
        """What the network says of each PIL picture (RGB), JSON-able; at most `batch_size` pictures a call."""

    @abstractmethod
    def verdict(self, said: Any, item: Item) -> Verdict:
        """The verdict that follows for an item."""

    def asked(self, item: Item) -> Any:
        """What of the example decides the verdict: part of the cache key."""
        return None

    @property
    def batch(self) -> int:
        return 256

    def key(self, item: Item) -> str:
        """Cache key: judge, version, settings, network, what is asked, and the picture by its content."""
        settings = self.config.model_dump(mode="json", exclude={"batch_size"})
        seen = content_of(item) or repr(sorted(item.fields.items(), key=str))
        content = [self.name(), self.version, settings, self.network, self.asked(item), seen]
        return hashlib.blake2b(json.dumps(content, sort_keys=True, default=str).encode(), digest_size=16).hexdigest()

    def grade(self, items: Sequence[Item]) -> Sequence[Verdict]:
        """Verdicts in order; a picture that stands in several items is shown to the network once."""
        contents = [content_of(item) for item in items]
        said, refused = self._said({c: path_of(i) for c, i in zip(contents, items, strict=True) if c})
        found = []
        for item, content in zip(items, contents, strict=True):
            if content is None:
                found.append(UNSCORED._replace(explanation="no picture"))
            elif content in refused:
                found.append(UNSCORED._replace(explanation=refused[content], again=not _is_file(item)))
            else:
                found.append(self.verdict(said[content], item))
        return found

    def _said(self, wanted: Mapping[str, Path | None]) -> tuple[dict[str, Any], dict[str, str]]:
        """Answers by content, and why the other pictures have none."""
        known = {c: SAID[self.network, c] for c in wanted if (self.network, c) in SAID}
        refused: dict[str, str] = {}
        missing = [(c, path) for c, path in wanted.items() if c not in known and path is not None]
        chunk: list[tuple[str, Any]] = []
        for content, picture in _opened(missing):
            if isinstance(picture, str):
                refused[content] = picture
                continue
            chunk.append((content, picture))
            if len(chunk) == self.config.batch_size:
                known |= self._shown(chunk)
                chunk = []
        return known | self._shown(chunk), refused

    def _shown(self, chunk: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        if not chunk:
            return {}
        answers = self.say([picture for _, picture in chunk])
        found = {content: answer for (content, _), answer in zip(chunk, answers, strict=True)}
        for content, answer in found.items():
            SAID[self.network, content] = answer
        while len(SAID) > KEPT:
            SAID.popitem(last=False)
        return found


def path_of(item: Item, field: str = "image") -> Path | None:
    """The picture's file; None where the response names none."""
    image = item.fields.get(field)
    return Path(image) if isinstance(image, str) and image and "\0" not in image else None


def content_of(item: Item, field: str = "image") -> str | None:
    """What identifies the picture: its hash, else that of its file, else where it should lie."""
    path, known = path_of(item, field), item.fields.get(f"{field}_hash")
    if path is None:
        return None
    if isinstance(known, str) and known:
        return known
    try:
        return ImageRef(path=path).digest
    except UserError:
        return f"missing {path}"


def file_identity(path: Path) -> str:
    """Name and hash of a network's file. Raises UserError where there is none."""
    try:
        facts = path.stat()
        return f"{path.name} {_file_hash(str(path), facts.st_mtime_ns, facts.st_size)}"
    except OSError:
        raise UserError(f"{path}: no such file of a judge's weights. Give a local file.") from None


def _file_hash(path: str, mtime_ns: int, size: int) -> str:
    key = (path, mtime_ns, size)
    if key not in _HASHES:
        with open(path, "rb") as stream:
            _HASHES[key] = hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=8)).hexdigest()
    return _HASHES[key]


_HASHES: dict[tuple[str, int, int], str] = {}


def _is_file(item: Item) -> bool:
    path = path_of(item)
    return path is not None and path.is_file()


def _opened(wanted: Sequence[tuple[str, Path]]) -> Iterator[tuple[str, Any]]:
    """Each picture decoded by a few threads (PIL decodes without the interpreter's lock), or why it cannot be."""

    def opened(path: Path) -> Any:
        try:
            return ImageRef(path=path).open()
        except UserError as error:
            return str(error)

    for start in range(0, len(wanted), DECODED):
        part = wanted[start : start + DECODED]
        made = mapped(opened, [path for _, path in part])
        yield from zip([content for content, _ in part], made, strict=True)
