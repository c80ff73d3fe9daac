"""Features of pictures for FID and KID: each file once a process, real ones kept in the user's cache by content."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from safetensors.numpy import load_file, save_file
from torch import Tensor

from mmunlearn.atomic import new_folder
from mmunlearn.cache import cache_folder
from mmunlearn.data import Example, image_digests
from mmunlearn.settings import digest

from . import heads as heads_module
from .canvas.files import Picture, read_canvas
from .canvas.names import names_of
from .heads import HeadsSettings
from .inception import FIRST_PX, open_inception
from .picture_files import decode_all, file_key, shared_table

CHUNK = 256  # pictures decoded at a time
KEPT_BYTES = 64 * 2**20
MEMO: OrderedDict[tuple[str, object], np.ndarray] = OrderedDict()  # (network, file) -> its feature
Flavour = Literal["unlearncanvas", "standard", "mini"]


@dataclass(frozen=True)
class FeatureNetwork:
    """A network that makes features. identity: hash of what they depend on; size_px: pictures are decoded to it."""

    title: str
    identity: str
    size_px: int
    batch_size: int
    apply: Callable[[UInt8[Tensor, "n 3 s s"]], Float[Tensor, "n d"]]

    @torch.inference_mode()
    def __call__(self, pictures: UInt8[Tensor, "n 3 s s"]) -> Float[np.ndarray, "n d"]:
        """Features in batches, float32."""
        parts = [self.apply(chunk).float().cpu().numpy() for chunk in pictures.split(self.batch_size)]
        return np.concatenate(parts) if parts else np.empty((0, 0), dtype=np.float32)


@dataclass(frozen=True)
class RealFeatures:
    """Features of the data set's pictures with what each shows; (n,) names and numbers, (n, d) float32."""

    styles: np.ndarray
    objects: np.ndarray
    numbers: np.ndarray
    features: np.ndarray


def open_network(flavour: Flavour, weights: str, mini: HeadsSettings, size_px: int = FIRST_PX) -> FeatureNetwork:
    """The flavour's network; `mini` (labelled so) is that of the style and object heads.

    size_px: to which pictures are brought before an inception network, as UnlearnCanvas does.
    """
    if flavour == "mini":
        return _mini(heads_module.identity(mini), mini.model_dump_json())
    stat = Path(weights).stat() if weights and Path(weights).is_file() else None
    return _inception(flavour, weights, stat.st_mtime_ns if stat else 0, size_px)


@lru_cache(maxsize=2)
def _mini(identity: str, content: str) -> FeatureNetwork:
    heads = heads_module.open_heads(HeadsSettings.model_validate_json(content))
    title = f"features of the style and object heads ({identity})"
    return FeatureNetwork(title, identity, heads.size_px, heads.batch_size, lambda x: heads.say(x).features)


@lru_cache(maxsize=2)
def _inception(flavour: Literal["unlearncanvas", "standard"], weights: str, _mtime: int, size_px: int):
    network = open_inception(flavour, weights)
    device = next(network.parameters()).device
    identity = digest([flavour, size_px, heads_module.file_digest(weights)])
    return FeatureNetwork(f"inception, {flavour}", identity, size_px, 64, lambda x: network(x.to(device)))


def features_of(paths: Sequence[Path], network: FeatureNetwork) -> tuple[np.ndarray, list[int]]:
    """Features (n, d) of the pictures that can be read, and their places in `paths`."""
    keys = [file_key(path) for path in paths]
    found = {place: MEMO[network.identity, key] for place, key in enumerate(keys) if (network.identity, key) in MEMO}
    missing = [place for place in range(len(paths)) if place not in found]
    for start in range(0, len(missing), CHUNK):
        chunk = missing[start : start + CHUNK]
        decoded = shared_table(network.size_px).read([paths[place] for place in chunk])
        if decoded.places:
            made = network(decoded.pictures)
            remember(network.identity, [paths[chunk[place]] for place in decoded.places], made)
            found |= {chunk[place]: row for place, row in zip(decoded.places, made, strict=True)}
    places = sorted(found)
    return (np.stack([found[place] for place in places]) if places else np.empty((0, 0), dtype=np.float32)), places


def remember(identity: str, paths: Sequence[Path], made: Float[np.ndarray, "n d"]) -> None:
    """Keep features of files for the process, the latest KEPT_BYTES of them: what the judge has made on its way, FID of
    the same network need not make again."""
    for path, row in zip(paths, made, strict=True):
        key = file_key(path)
        if key is not None:
            MEMO[identity, key] = row
    while len(MEMO) * made.shape[1] * made.itemsize > KEPT_BYTES:
        MEMO.popitem(last=False)


def real_features(root: Path, network: FeatureNetwork, first: int, last: int) -> RealFeatures:
    """Features of pictures number `first` to `last` of every style and object under `root`, made once.

    They lie in the cache by network, style, object and content, so every request and run takes what it retains of them;
    a killed process loses one chunk at most. Raises UserError where the data are in a form without numbers.
    """
    return _real(str(root), network, first, last)


@lru_cache(maxsize=4)
def _real(root: str, network: FeatureNetwork, first: int, last: int) -> RealFeatures:
    canvas = read_canvas(Path(root), names_of(Path(root)), strict=False, what="folders {style}/{object}/{i}.jpg")
    canvas.refuse_without_index(f"FID against pictures {first} to {last}")
    cells: dict[tuple[str, str], list[Picture]] = {}
    for picture in canvas.pictures:
        if first <= picture.number <= last:
            cells.setdefault((picture.style, picture.object), []).append(picture)
    folders = {cell: _folder(network, cell, pictures) for cell, pictures in cells.items()}
    missing = [cell for cell, folder in folders.items() if not (folder / "features.safetensors").is_file()]
    while missing:
        chunk = [missing.pop(0)]
        while missing and sum(len(cells[cell]) for cell in chunk) < CHUNK:
            chunk.append(missing.pop(0))
        _make(chunk, cells, folders, network)
    order = [picture for cell in cells for picture in cells[cell]]
    parts = [load_file(folders[cell] / "features.safetensors")["features"] for cell in cells]
    return RealFeatures(
        np.array([picture.style for picture in order], dtype=object),
        np.array([picture.object for picture in order], dtype=object),
        np.array([picture.number for picture in order]),
        np.concatenate(parts) if parts else np.empty((0, 0), dtype=np.float32),
    )


def _folder(network: FeatureNetwork, cell: tuple[str, str], pictures: Sequence[Picture]) -> Path:
    examples = [Example(id=str(picture.number), image=picture.image) for picture in pictures]
    key = digest([[example.id for example in examples], image_digests(examples)])
    return cache_folder("features", network.identity) / f"{cell[0]}-{cell[1]}-{key}"


def _make(
    chunk: Sequence[tuple[str, str]],
    cells: dict[tuple[str, str], list[Picture]],
    folders: dict[tuple[str, str], Path],
    network: FeatureNetwork,
) -> None:
    """Compute and store the features of some cells."""
    pictures = decode_all([picture.image for cell in chunk for picture in cells[cell]], network.size_px)
    made, start = network(pictures), 0
    for cell in chunk:
        with new_folder(folders[cell]) as temporary:
            save_file({"features": made[start : start + len(cells[cell])].copy()}, temporary / "features.safetensors")
        start += len(cells[cell])
