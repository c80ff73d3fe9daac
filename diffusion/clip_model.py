"""CLIP models of open_clip from local files: embeddings of pictures, scores of pictures and prompts."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from mmunlearn.errors import UserError, near_miss
from mmunlearn.weights_file import load_strictly, read_weights

from .picture_files import shared_table

CHUNK = 256  # pictures decoded at a time


class Clip:
    """An open_clip model with its tokenizer and picture size."""

    def __init__(self, model: Any, tokenizer: Any, size_px: int, mean: Sequence[float], std: Sequence[float]):
        self.model, self.tokenizer, self.table = model, tokenizer, shared_table(size_px, bicubic=True)
        self.mean, self.std = (torch.tensor(v)[:, None, None] for v in (mean, std))

    def scores(self, paths: Sequence[Path], prompts: Sequence[str], batch_size: int) -> tuple[np.ndarray, list[int]]:
        """Scores of the pictures that can be read, and their places; every prompt is encoded once."""
        device = next(self.model.parameters()).device
        texts = sorted(set(prompts))
        with torch.inference_mode():
            encoded = [
                self.model.encode_text(self.tokenizer(texts[i : i + batch_size]).to(device), normalize=True).cpu()
                for i in range(0, len(texts), batch_size)
            ]
        vectors = dict(zip(texts, torch.cat(encoded), strict=True))
        made, places = self.pictures(paths, batch_size)
        if not places:
            return np.empty(0), places
        text = torch.stack([vectors[prompts[place]] for place in places])
        return (100 * (made * text).sum(1).clamp(min=0)).double().numpy(), places

    def pictures(self, paths: Sequence[Path], batch_size: int) -> tuple[Any, list[int]]:
        """Unit embeddings (n, width) of the pictures that can be read, on the CPU, and their places."""
        made, places = [], []
        for start in range(0, len(paths), CHUNK):
            decoded = self.table.read(paths[start : start + CHUNK])
            places += [start + place for place in decoded.places]
            made += [self.embedded(chunk) for chunk in decoded.pictures.split(batch_size)]
        return (torch.cat(made) if made else torch.empty(0, 0)), places

    @property
    def table_size(self) -> tuple[int, int]:
        """Height and width of the pictures that it sees."""
        return self.table.size_px, self.table.size_px

    def prepared(self, picture: Any) -> UInt8[Tensor, "3 h w"]:
        """A PIL picture at the model's size, as `pictures` decodes them."""
        from PIL import Image

        side = self.table_size
        small = picture if picture.size == side else picture.resize(side, Image.Resampling.BICUBIC)
        return torch.from_numpy(np.asarray(small, dtype=np.uint8).transpose(2, 0, 1).copy())

    @torch.inference_mode()
    def embedded(self, pictures: UInt8[Tensor, "n 3 h w"]) -> Float[Tensor, "n width"]:
        """Unit embeddings of pictures of the model's size, on the CPU."""
        device = next(self.model.parameters()).device
        pixels = ((pictures.float() / 255 - self.mean) / self.std).to(device)
        return self.model.encode_image(pixels, normalize=True).cpu()


def open_clip_model(name: str, weights: str, who: str) -> Clip:
    """The model called `name` with weights from a file; who: asks for it, for the message.

    Raises UserError for an unknown name or an unfitting file.
    """
    if not weights or not Path(weights).is_file():
        raise UserError(
            f"{who}: weights {weights!r} is no file. Give the weights of {name} from a local path."
        )
    return _loaded(name, weights, Path(weights).stat().st_mtime_ns, who)


@lru_cache(maxsize=2)
def _loaded(name: str, weights: str, _mtime: int, who: str) -> Clip:
    try:
        import open_clip
    except ImportError:
        raise UserError(f"{who} needs open_clip_torch: pip install 'mmunlearn[diffusion]'") from None
    if name.endswith(".json"):
        if not Path(name).is_file():
            raise UserError(f"{who}: {name}: no such file. Give one, or the name of an open_clip model.")
        open_clip.add_model_config(name)
        name = Path(name).stem
    if name not in open_clip.list_models():
        raise UserError(f"{who}: open_clip has no {name!r}. {near_miss(name, open_clip.list_models())}")
    with torch.random.fork_rng(devices=[]):
        model = open_clip.create_model(name, pretrained=None)
    load_strictly(model, read_weights(Path(weights)), weights, "Set model to what the file holds.")
    size = model.visual.image_size
    facts = getattr(model.visual, "preprocess_cfg", {})
    mean = facts.get("mean") or open_clip.OPENAI_DATASET_MEAN
    std = facts.get("std") or open_clip.OPENAI_DATASET_STD
    device = "cuda" if torch.cuda.is_available() else "cpu"
    side_px = size[0] if isinstance(size, tuple) else int(size)
    return Clip(model.to(device).eval().requires_grad_(False), open_clip.get_tokenizer(name), side_px, mean, std)
