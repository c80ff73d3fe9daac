"""CLIP score: how well a picture fits the prompt that it was drawn for."""

from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from mmunlearn.metrics.base import CLIP_WEIGHTS, Metric, Sight, Value, mean_of

from ..clip_model import open_clip_model
from ._requests import RequestSettings, last_concepts, tag


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
        clip = open_clip_model(config.model, config.weights, "metric clip_score")
        scores, places = clip.scores([Path(images[r]) for r in chosen], [prompts[r] for r in chosen], config.batch_size)
        value = mean_of(scores, unscored + len(chosen) - len(places))
        return value._replace(note=f"{config.model}, {Path(config.weights).name}, {config.of} prompts")

    def _chosen(self, sight: Sight) -> np.ndarray:
        styles, objects = tag(sight.rows, "style"), tag(sight.rows, "object")
        shown = np.zeros(len(sight.rows), dtype=bool)
        for concept in last_concepts(sight, self.config, self.name()):
            shown |= concept.shown(styles, objects)
        return {"retained": ~shown, "forgotten": shown, "all": np.ones_like(shown)}[self.config.of]
