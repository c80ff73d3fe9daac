"""Pictures decoded once: a growing table of uint8 images at the model's size, shared by all splits and handles."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from mmunlearn.data import Example, ImageRef
from mmunlearn.errors import UserError
from mmunlearn.threads import mapped


class ImageTable:
    """uint8 pictures (3, height, width) in memory, found by where they come from; each file is opened once.

    The short side is scaled to `size_px` (bilinear, as torchvision's Resize on PIL images) and the centre cut out,
    which for square pictures is a plain resize. JPEGs decode at a reduced size where that is enough (draft mode), so
    the 1024-pixel pictures of CelebA-HQ cost little.
    """

    def __init__(self, size_px: int):
        self.size_px = size_px
        self._row: dict[object, int] = {}
        self._data = torch.empty(0, 3, size_px, size_px, dtype=torch.uint8)
        self._used = 0

    def rows(self, examples: Sequence[Example]) -> UInt8[Tensor, "batch 3 size size"]:
        """Pictures of `examples`, decoding those not seen before."""
        keys = [_key(example) for example in examples]
        new = {key: example.image for key, example in zip(keys, examples, strict=True) if key not in self._row}
        if new:
            self._append(list(new), mapped(self._decode, list(new.values())))
        return self._data[torch.as_tensor([self._row[key] for key in keys])]

    def __len__(self) -> int:
        return self._used

    def _append(self, keys: list[object], pictures: list[np.ndarray]) -> None:
        needed = self._used + len(pictures)
        if needed > len(self._data):
            grown = torch.empty(max(needed, 2 * len(self._data)), 3, self.size_px, self.size_px, dtype=torch.uint8)
            grown[: self._used] = self._data[: self._used]
            self._data = grown
        for key, picture in zip(keys, pictures, strict=True):
            self._data[self._used] = torch.from_numpy(picture)
            self._row[key] = self._used
            self._used += 1

    def _decode(self, ref: ImageRef | None) -> np.ndarray:
        if ref is None:
            raise UserError("an example has no image; classifiers need one.")
        return decode(ref, self.size_px)


def decode(ref: ImageRef, size_px: int) -> np.ndarray:
    """One picture as uint8 (3, size, size)."""
    from PIL import Image

    image = ref.open(draft_px=2 * size_px)
    width, height = image.size
    if (width, height) != (size_px, size_px):
        short = min(width, height)
        image = image.resize((int(size_px * width / short), int(size_px * height / short)), Image.Resampling.BILINEAR)
        left, top = round((image.width - size_px) / 2), round((image.height - size_px) / 2)
        image = image.crop((left, top, left + size_px, top + size_px))
    return np.asarray(image, dtype=np.uint8).transpose(2, 0, 1).copy()


def _key(example: Example) -> object:
    ref = example.image
    if ref is None:
        return None
    return str(ref.path) if ref.path is not None else ref.digest
