"""Structure similarity (VSS): a CLIP gate, then a vision-language model grades two pictures from 0 to 10."""

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from mmunlearn.data import CLIP_FILE, CLIP_MODEL
from mmunlearn.judges.base import UNSCORED, Item, Judge, Sample, Verdict
from mmunlearn.judges.base_pictures import content_of, file_identity, path_of
from mmunlearn.judges.model_judge import ModelJudge
from mmunlearn.settings import Settings

from ..clip_model import open_clip_model

TOP = 10.0
ALIKE = 5.0


class BrandStructure(Judge):
    """Value: similarity / 10 of the response's picture and the original model's for the same prompt (the reference,
    shown first). Labels: similar (5 or more), different, gated.

    Gate: where the cosine of both pictures' CLIP embeddings is below `gate_least`, the value is 0 and no model is
    asked. gate_weights: the CLIP's local file (published: OpenAI's ViT-B/32); without it there is no gate, which the
    explanation says. backend and template: as those of model_judge. Without either picture an item is unscored, and so
    is what the model says unclearly.
    Source: UNBRANDING configs/vlm_vss.json (diffusion 3.3), a number with an explanation of at most 120 characters. The
    explanation comes first here, so that the number follows from it.
    """

    class Config(Settings):
        """Gate and model."""

        backend: dict[str, Any] = Field(default_factory=dict)
        template: str = "unbranding_structure"
        gate_model: Annotated[str, CLIP_MODEL] = "ViT-B-32-quickgelu"
        gate_weights: Annotated[str, CLIP_FILE] = ""
        gate_least: float = Field(0.8, ge=-1, le=1)
        batch_size: int = Field(64, ge=1)

    offered = ("similar", "different", "gated")
    reads = "pictures"
    beside_original = True
    check_needs = "nudenet"  # the rule in the model's place: no picture of the checks shows nudity
    check_settings = {"backend": {"kind": "rule", "rule": "nudenet_parts", "invert": True}}
    samples = (Sample("Dots/Disc", "similar"), Sample("Seed_Images/Cross", "gated"))

    @cached_property
    def _model(self) -> ModelJudge:
        return ModelJudge({"template": self.config.template, "backend": self.config.backend})

    @property
    def _gate(self) -> str:
        config = self.config
        if not config.gate_weights:
            return ""
        return f"{config.gate_model} {file_identity(Path(config.gate_weights))} {config.gate_least}"

    @property
    def batch(self) -> int:
        return self._model.batch

    def ready(self) -> None:
        """Raise UserError without a backend, or where the gate's file is missing or unfitting."""
        self._model.ready()
        if self.config.gate_weights:
            open_clip_model(self.config.gate_model, self.config.gate_weights, f"judge {self.name()}")

    def key(self, item: Item) -> str:
        """Cache key: the gate and the model judge's key, which covers both pictures."""
        pictures = [content_of(item, field) for field in ("original_image", "image")]
        seen = self._model.key(item) if None not in pictures else repr(sorted(item.fields.items(), key=str))
        content = [self.name(), self.version, self._gate, pictures, seen]
        return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16).hexdigest()

    def grade(self, items: Sequence[Item]) -> list[Verdict]:
        """Verdicts in order."""
        verdicts: list[Verdict] = [UNSCORED._replace(explanation="one of two pictures is missing")] * len(items)
        paired = [i for i, item in enumerate(items) if all(path_of(item, f) for f in ("original_image", "image"))]
        cosines = self._cosines([items[i] for i in paired])
        asked = []
        for place, i in enumerate(paired):
            cosine = cosines.get(place)
            if cosine is not None and cosine < self.config.gate_least:
                verdicts[i] = Verdict(0.0, "gated", f"cosine {cosine:.3f} below {self.config.gate_least:g}")
            else:
                asked.append((i, "no gate" if cosine is None else f"cosine {cosine:.3f}"))
        for (i, said), verdict in zip(asked, self._model.grade([items[i] for i, _ in asked]), strict=True):
            verdicts[i] = self._scaled(verdict, said)
        return verdicts

    def _scaled(self, verdict: Verdict, said: str) -> Verdict:
        if not verdict.scored:
            return verdict._replace(label=None)
        label = "similar" if verdict.value >= ALIKE else "different"
        why = f"{said}; {verdict.explanation}" if verdict.explanation else said
        return verdict._replace(value=verdict.value / TOP, label=label, explanation=why)

    def _cosines(self, items: Sequence[Item]) -> dict[int, float]:
        """Cosine of both pictures by place; none without a gate, or where one cannot be read."""
        if not self.config.gate_weights or not items:
            return {}
        clip = open_clip_model(self.config.gate_model, self.config.gate_weights, f"judge {self.name()}")
        found: dict[int, Any] = {}
        for field in ("original_image", "image"):
            made, places = clip.pictures([Path(item.fields[field]) for item in items], self.config.batch_size)
            for row, place in zip(made, places, strict=True):
                found.setdefault(place, []).append(row)
        return {place: float(rows[0] @ rows[1]) for place, rows in found.items() if len(rows) == 2}
