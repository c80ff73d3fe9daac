"""A VQA data set on this machine: which format, where, and how its questions are asked."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import Field, field_validator

from mmunlearn.data import ImageRef
from mmunlearn.errors import UserError
from mmunlearn.settings import Settings
from mmunlearn.tables import read_text

Format = Literal["mme", "pope", "vqav2", "gqa", "textvqa", "vizwiz", "scienceqa", "mmbench", "plain"]
WORD = "Answer the question using a single word or phrase."
LETTER = "Answer with the option's letter from the given choices directly."
# What LLaVA's evaluation scripts add to the questions; MME's questions bring their own.
SUFFIXES: Mapping[str, str] = {"mme": "", "scienceqa": LETTER, "mmbench": LETTER, "plain": ""}


class UtilitySource(Settings):
    """One VQA data set. root: folder or file. images: folder of the pictures, where they lie elsewhere.

    name: of the split and cells, the format's when left out. suffix: added to each question; None: the one customary
    for the format. split: which part of a data set that holds several. limit: the first so many (0: all).
    """

    format: Format
    root: str
    images: str = ""
    name: str = Field("", pattern=r"^[a-z0-9_]*$")
    split: str = ""
    suffix: str | None = None
    limit: int = Field(0, ge=0)

    @field_validator("root")
    @classmethod
    def _named(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("names no folder")
        return value

    @property
    def title(self) -> str:
        """Name of the data set in splits and cells."""
        return self.name or self.format

    @property
    def folder(self) -> Path:
        """The root. Raises UserError when it does not exist."""
        path = Path(self.root).expanduser()
        if not path.exists():
            raise UserError(f"utility {self.title}: no such folder or file: {path}. Correct benchmark.utility.root.")
        return path

    @property
    def beside(self) -> Path:
        """The folder that the root is or lies in."""
        return self.folder if self.folder.is_dir() else self.folder.parent

    def asked(self, question: str) -> str:
        """The question with what the format's evaluation adds."""
        suffix = SUFFIXES.get(self.format, WORD) if self.suffix is None else self.suffix
        return f"{question.strip()}\n{suffix}".strip()

    def picture(self, name: object, where: str, *folders: str) -> ImageRef:
        """The picture called `name` in `images`, else in the first of `folders` below the root that has it."""
        parts = PurePosixPath(name).parts if isinstance(name, str) else ()
        if not isinstance(name, str) or not parts or ".." in parts or name.startswith("/") or "\\" in name:
            raise UserError(f"{where}: image {name!r} is not a path below the images.")
        if self.images:
            places = [Path(self.images).expanduser()]
        else:
            places = [self.beside / folder for folder in folders] or [self.beside]
        for place in places:
            if (place / name).is_file():
                return ImageRef(path=place / name)
        shown = ", ".join(str(place) for place in places)
        raise UserError(f"{where}: picture {name} is not in {shown}. Restore it, or set images.")


def read_json(path: Path) -> Any:
    """Content of a JSON file. Raises UserError naming file and line."""
    try:
        return json.loads(read_text(path))
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}). Restore the file.") from None


def one_file(source: UtilitySource, patterns: Iterable[str], what: str) -> Path:
    """The root itself where it is a file, else the one file below it that fits a pattern (the first that fits any)."""
    if source.folder.is_file():
        return source.folder
    for pattern in patterns:
        found = sorted(path for path in source.folder.rglob(pattern) if path.is_file())
        found = [path for path in found if source.split in path.name] if source.split else found
        if len(found) == 1:
            return found[0]
        if found:
            raise UserError(
                f"utility {source.title}: {len(found)} files could be {what}: {found[0].name}, {found[1].name}…\n"
                f"Name one as root, or a word of its name as split."
            )
    raise UserError(f"{source.folder}: holds no {what} ({' or '.join(patterns)}). Correct benchmark.utility.root.")


def field(row: Any, name: str, where: str) -> Any:
    """`row[name]`. Raises UserError where the row is no object or has no such field."""
    if not isinstance(row, Mapping):
        raise UserError(f"{where}: is a {type(row).__name__}, not an object with named values.")
    if name not in row:
        raise UserError(f"{where}: no field {name}. Fields: {', '.join(map(str, row))[:120]}.")
    return row[name]


def text_of(row: Any, name: str, where: str) -> str:
    """A field that must be text and not blank."""
    value = field(row, name, where)
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{where}: {name} is {value!r}, not text.")
    return value.strip()


def lettered(options: Iterable[str]) -> str:
    """Options one a line with letters from A on."""
    return "\n".join(f"{chr(ord('A') + index)}. {option}" for index, option in enumerate(options))
