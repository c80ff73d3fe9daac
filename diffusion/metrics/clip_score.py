"""CLIP score: how well a picture fits the prompt that it was drawn for."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from mmunlearn.errors import UserError, near_miss
from mmunlearn.metrics.base import CLIP_WEIGHTS, Metric, Sight, Value, mean_of

from ..picture_files import shared_table
from ._requests import RequestSettings, last_concepts, tag

CHUNK = 256  # pictures decoded at a time


class ClipScore(Metric):
    """100 · max(cos(image, text), 0) by a CLIP model, mean over the pictures; of the answers without the forgotten
    concept, or (`of: forgotten`) of those with it, or of all.

    The model is one of open_clip's architectures with weights from a local file; nothing is downloaded. Values of two
    models are not comparable, so the note names the model.

    >>> from mmunlearn.records import Rows
    >>> ClipScore().reduce(Sight(Rows((), {}))).n
    0
    """

    class Config(RequestSettings):
        """model: an open_clip name, or a JSON file with its configuration. weights: local file (.safetensors, .pt)."""

        model: str = "ViT-B-32"
        weights: Annotated[str, CLIP_WEIGHTS] = ""
        of: str = Field("retained", pattern="^(retained|forgotten|all)$")
        batch_size: int = Field(64, ge=1)

    unit = "CLIP score"
    better = "higher"
    columns = ("image", "prompt")
    reads = "pictures"

    def reduce(self, sight: Sight) -> Value:
        """n: pictures scored. Raises UserError without the model's weights."""
        rows, config = sight.rows, self.config
        if not len(rows):
            return mean_of(np.empty(0))
        images = rows["image"] if "image" in rows else np.full(len(rows), None, dtype=object)
        prompts = rows["prompt"] if "prompt" in rows else np.full(len(rows), None, dtype=object)
        told = np.array([isinstance(i, str) and isinstance(p, str) for i, p in zip(images, prompts, strict=True)])
        keep = told & self._chosen(sight)
        chosen = sorted(np.flatnonzero(keep).tolist(), key=lambda row: rows.ids[row])
        unscored = int((~told).sum())
        if not chosen:
            return mean_of(np.empty(0), unscored)
        clip = open_clip_model(config.model, config.weights)
        scores, places = clip.scores([Path(images[r]) for r in chosen], [prompts[r] for r in chosen], config.batch_size)
        value = mean_of(scores, unscored + len(chosen) - len(places))
        return value._replace(note=f"{config.model}, {Path(config.weights).name}, {config.of} prompts")

    def _chosen(self, sight: Sight) -> np.ndarray:
        styles, objects = tag(sight.rows, "style"), tag(sight.rows, "object")
        shown = np.zeros(len(sight.rows), dtype=bool)
        for concept in last_concepts(sight, self.config, self.name()):
            shown |= concept.shown(styles, objects)
        return {"retained": ~shown, "forgotten": shown, "all": np.ones_like(shown)}[self.config.of]


class Clip:
    """An open_clip model with its tokenizer and picture size."""

    def __init__(self, model: Any, tokenizer: Any, size_px: int, mean: Sequence[float], std: Sequence[float]):
        import torch

        self.model, self.tokenizer, self.table = model, tokenizer, shared_table(size_px, bicubic=True)
        self.mean, self.std = (torch.tensor(v)[:, None, None] for v in (mean, std))

    def scores(self, paths: Sequence[Path], prompts: Sequence[str], batch_size: int) -> tuple[np.ndarray, list[int]]:
        """Scores of the pictures that can be read, and their places; every prompt is encoded once."""
        import torch

        device = next(self.model.parameters()).device
        texts = sorted(set(prompts))
        with torch.inference_mode():
            encoded = [
                self.model.encode_text(self.tokenizer(texts[i : i + batch_size]).to(device), normalize=True).cpu()
                for i in range(0, len(texts), batch_size)
            ]
            vectors = dict(zip(texts, torch.cat(encoded), strict=True))
            made, places = [], []
            for start in range(0, len(paths), CHUNK):
                decoded = self.table.read(paths[start : start + CHUNK])
                places += [start + place for place in decoded.places]
                for chunk in decoded.pictures.split(batch_size):
                    pixels = ((chunk.float() / 255 - self.mean) / self.std).to(device)
                    made.append(self.model.encode_image(pixels, normalize=True).cpu())
        if not places:
            return np.empty(0), places
        text = torch.stack([vectors[prompts[place]] for place in places])
        return (100 * (torch.cat(made) * text).sum(1).clamp(min=0)).double().numpy(), places


def open_clip_model(name: str, weights: str) -> Clip:
    """The model called `name` with weights from a file. Raises UserError for an unknown name or an unfitting file."""
    if not weights or not Path(weights).is_file():
        raise UserError(
            f"metric clip_score: weights {weights!r} is no file. Give the weights of {name} from a local path."
        )
    return _loaded(name, weights, Path(weights).stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _loaded(name: str, weights: str, _mtime: int) -> Clip:
    import torch

    from mmunlearn.weights_file import load_strictly, read_weights

    try:
        import open_clip
    except ImportError:
        raise UserError("metric clip_score needs open_clip_torch: pip install 'mmunlearn[diffusion]'") from None
    if name.endswith(".json"):
        if not Path(name).is_file():
            raise UserError(f"metric clip_score: {name}: no such file. Give one, or the name of an open_clip model.")
        open_clip.add_model_config(name)
        name = Path(name).stem
    if name not in open_clip.list_models():
        raise UserError(f"metric clip_score: open_clip has no {name!r}. {near_miss(name, open_clip.list_models())}")
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
