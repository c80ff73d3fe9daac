"""Picture files as uint8 tensors of one size, each file decoded once a process."""

from collections import OrderedDict
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from mmunlearn.data import ImageRef
from mmunlearn.errors import UserError
from mmunlearn.threads import mapped

KEPT_BYTES = 256 * 2**20  # decoded pictures that a process keeps


class Decoded(NamedTuple):
    """Pictures that could be decoded, their places in what was asked, and why the others could not, by place."""

    pictures: UInt8[Tensor, "n 3 height width"]
    places: list[int]
    refused: dict[int, str]


class PictureTable:
    """Decoded pictures of one size, the latest ones kept in memory; found again by path, time and length of the file.

    Resize as torchvision's `Resize((size, size))` on PIL images: bilinear (or bicubic) with antialiasing, not keeping
    the aspect.
    """

    def __init__(self, size_px: int, *, bicubic: bool = False, kept_bytes: int = KEPT_BYTES):
        self.size_px = size_px
        self.bicubic = bicubic
        self.kept = max(1, kept_bytes // (3 * size_px * size_px))
        self._pictures: OrderedDict[object, np.ndarray] = OrderedDict()

    def read(self, paths: Sequence[Path]) -> Decoded:
        """The pictures of `paths`; what is missing, truncated, no picture or too large is refused with its reason."""
        keys = [file_key(path) for path in paths]
        new = {
            key: path
            for key, path in zip(keys, paths, strict=True)
            if key is not None and key not in self._pictures
        }
        made = dict(zip(new, mapped(self._decode, list(new.values())), strict=True))
        found, places, refused = [], [], {}
        for place, (key, path) in enumerate(zip(keys, paths, strict=True)):
            picture = made.get(key, self._pictures.get(key)) if key is not None else f"{path}: no such file"
            if isinstance(picture, str):
                refused[place] = picture
            else:
                assert picture is not None  # every key has been read, now or before
                found.append(picture)
                places.append(place)
        for key, picture in made.items():
            if not isinstance(picture, str):
                self._pictures[key] = picture
        while len(self._pictures) > self.kept:
            self._pictures.popitem(last=False)
        empty = np.empty((0, 3, self.size_px, self.size_px), dtype=np.uint8)
        return Decoded(torch.from_numpy(np.stack(found) if found else empty), places, refused)

    def _decode(self, path: Path) -> np.ndarray | str:
        try:
            return decode(ImageRef(path=path), self.size_px, bicubic=self.bicubic)
        except UserError as error:
            return str(error)


def decode(ref: ImageRef, size_px: int, *, bicubic: bool = False) -> UInt8[np.ndarray, "3 size size"]:
    """One picture as uint8, resized where it has another size. Raises UserError for what is no readable picture."""
    from PIL import Image

    image = ref.open()
    if image.size != (size_px, size_px):
        how = Image.Resampling.BICUBIC if bicubic else Image.Resampling.BILINEAR
        image = image.resize((size_px, size_px), how)
    return np.asarray(image, dtype=np.uint8).transpose(2, 0, 1).copy()


def decode_all(refs: Sequence[ImageRef], size_px: int) -> UInt8[Tensor, "n 3 size size"]:
    """All pictures, by a few threads; the first that cannot be read raises its UserError."""
    pictures = mapped(lambda ref: decode(ref, size_px), refs)
    return torch.from_numpy(np.stack(pictures)) if pictures else torch.empty(0, 3, size_px, size_px, dtype=torch.uint8)


@lru_cache(maxsize=4)
def shared_table(size_px: int, bicubic: bool = False) -> PictureTable:
    """The process's table of that size: what a judge has decoded, metrics need not decode again."""
    return PictureTable(size_px, bicubic=bicubic)


def file_key(path: Path) -> object | None:
    """What a file is known by: path, time and length; None where there is none."""
    try:
        facts = path.stat()
    except (OSError, ValueError):
        return None
    return (str(path), facts.st_mtime_ns, facts.st_size)
