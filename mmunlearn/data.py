"""Examples, lazy images and splits: what every stage passes around, all of it immutable."""

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

from mmunlearn.errors import UserError
from mmunlearn.seeds import derive
from mmunlearn.threads import mapped

if TYPE_CHECKING:
    from PIL import Image

EMPTY: Mapping[str, str] = MappingProxyType({})
PICTURES = "folder of pictures"
PictureFolder = Annotated[str, PICTURES]  # a setting of this type is a folder {style}/{object}/{i}.jpg; "": the default
# Marks of settings that the contract's checks of judges fill with small models of those pictures.
IMAGE_CLASSIFIER, IMAGE_WEIGHTS = "folder of an image classifier", "weights of an image classifier"
CLIP_MODEL, CLIP_FILE, PROMPT_VECTORS = "configuration of a CLIP", "weights of a CLIP", "vectors beside a CLIP's"
MAX_PIXELS = 64_000_000  # eight times a 1024 x 8192 scan; larger pictures are refused before decoding


class Role(StrEnum):
    """What a split is for, whatever the file that holds it is called."""

    FORGET = "forget"
    RETAIN = "retain"
    TRAIN = "train"
    HOLDOUT = "holdout"
    UNSEEN = "unseen"
    UTILITY = "utility"


@dataclass(frozen=True)
class ImageRef:
    """A picture that is decoded when asked: a file (`path`) or encoded bytes (`content`)."""

    path: Path | None = None
    content: bytes | None = field(default=None, repr=False)

    def read(self) -> bytes:
        """Encoded bytes. Raises UserError when the file is missing or unreadable."""
        if self.content is not None:
            return self.content
        assert self.path is not None
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise UserError(f"{self.path}: image cannot be read ({error.strerror}).") from None

    def open(self, *, draft_px: int | None = None) -> "Image.Image":
        """Decoded RGB picture; `draft_px` lets a JPEG decode at a reduced size not below that many pixels a side.

        Raises UserError for a truncated file, an unknown format or more than MAX_PIXELS pixels.
        """
        from PIL import Image

        name = self.path or "<bytes>"
        try:
            with Image.open(io.BytesIO(self.read())) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise UserError(
                        f"{name}: {image.width} x {image.height} pixels is more than {MAX_PIXELS:,}; refused unread."
                    )
                if draft_px is not None and image.format == "JPEG":
                    image.draft("RGB", (draft_px, draft_px))
                return image.convert("RGB")
        except UserError:
            raise
        except Image.DecompressionBombError:
            raise UserError(f"{name}: more than {MAX_PIXELS:,} pixels; refused unread.") from None
        except (OSError, SyntaxError, ValueError, EOFError) as error:
            raise UserError(f"{name}: not a readable image ({error}). Restore or remove the file.") from None

    @cached_property
    def digest(self) -> str:
        """Content hash of the encoded bytes (32 hexadecimal digits)."""
        return hashlib.blake2b(self.read(), digest_size=16).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Example:
    """One item of a benchmark. `id` is unique and stable; `target` is a class index, label vector or answer text."""

    id: str
    image: ImageRef | None = None
    prompt: str | None = None
    target: str | int | tuple[int, ...] | None = None
    choices: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=lambda: EMPTY)

    @cached_property
    def key(self) -> int:
        """63-bit key of the id for counter-based draws."""
        return derive(0, self.id)

    def with_target(self, target: Any) -> "Example":
        """The same example asking for another target."""
        return replace(self, target=target)


@dataclass(frozen=True)
class Split(Sequence[Example]):
    """A named, ordered set of examples with one role."""

    name: str
    role: Role
    examples: tuple[Example, ...]

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: Any) -> Any:
        return self.examples[index]

    def __iter__(self) -> Iterator[Example]:
        return iter(self.examples)

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(example.id for example in self.examples)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of ids, prompts, targets and image contents; reads every image file once."""
        digest = hashlib.blake2b(digest_size=16)
        for example, image in zip(self.examples, image_digests(self.examples), strict=True):
            digest.update(repr((example.id, example.prompt, example.target, example.choices, image)).encode())
        return digest.hexdigest()

    def subset(self, indices: Iterable[int], name: str | None = None) -> "Split":
        """The examples at `indices`, in that order."""
        return Split(name or self.name, self.role, tuple(self.examples[int(i)] for i in indices))

    def mapped(self, change: Callable[[Example], Example]) -> "Split":
        """Every example changed by `change` (a relabelling, for instance)."""
        return Split(self.name, self.role, tuple(change(example) for example in self.examples))


def union(name: str, role: Role, *splits: Split) -> Split:
    """Splits joined in order."""
    return Split(name, role, tuple(example for split in splits for example in split))


def spread(split: Split, limit: int) -> Split:
    """`limit` examples drawn by their ids (0: all), in the split's order; a smaller limit gives a part of a larger's.

    Drawn rather than taken at equal distances, which a benchmark with equally many questions a person would turn into
    the same question of each.
    """
    if not limit or len(split) <= limit:
        return split
    chosen = sorted(range(len(split)), key=lambda i: split[i].key)[:limit]
    return split.subset(sorted(chosen))


def image_digests(examples: Sequence[Example]) -> list[str]:
    """Content hashes of the examples' images ("" where there is none), read by a few threads."""
    return mapped(lambda example: example.image.digest if example.image else "", examples)
