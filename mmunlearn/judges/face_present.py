"""Whether a face is in the picture, by MTCNN."""

import importlib
import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from pydantic import Field

from mmunlearn.chat.packaged import package_folder
from mmunlearn.judges.base import Item, Sample, Verdict
from mmunlearn.judges.base_pictures import PictureJudge, PictureSettings

INSTALL = "pip install --no-deps facenet-pytorch (it asks for an old torch and works with a new one)"


class FacePresent(PictureJudge):
    """Value 1, label face: a face is found with a probability of at least `threshold`; else 0, none. Explanation: JSON
    with the number of faces and the best probability.

    Source: Zhang et al. 2016, MTCNN; weights of the package facenet-pytorch 2.6.
    """

    class Config(PictureSettings):
        """From which probability on, and how small a face may be."""

        threshold: float = Field(0.95, ge=0, le=1)
        least_px: int = Field(20, ge=12)

    offered = ("face", "none")
    check_needs = "facenet_pytorch"
    samples = (Sample("photo/person", "face"), Sample("photo/flower", "none"), Sample("Dots/Disc", "none"))

    def ready(self) -> None:
        """Raise UserError where the detector is not installed."""
        _detector(self.config.least_px)

    @property
    def network(self) -> str:
        return f"mtcnn {self.config.least_px}"

    def say(self, pictures: Sequence[Any]) -> list[list[float]]:
        """Probabilities of the faces; pictures of one size are looked at together."""
        import torch

        found: list[list[float]] = [[] for _ in pictures]
        sizes: dict[tuple[int, int], list[int]] = {}
        for place, picture in enumerate(pictures):
            sizes.setdefault(picture.size, []).append(place)
        for places in sizes.values():
            with torch.inference_mode():
                _, made = _detector(self.config.least_px).detect([pictures[place] for place in places])
            for place, scores in zip(places, made, strict=True):
                found[place] = [float(score) for score in scores if score is not None]
        return found

    def verdict(self, said: Any, item: Item) -> Verdict:
        sure = [score for score in said if score >= self.config.threshold]
        told = {"faces": len(sure), "best": round(max(said, default=0.0), 4), "network": self.network}
        return Verdict(float(bool(sure)), "face" if sure else "none", json.dumps(told))


@lru_cache(maxsize=2)
def _detector(least_px: int) -> Any:
    package_folder("facenet_pytorch", "facenet-pytorch", "judge face_present", INSTALL)
    # By name, because its stated dependencies contradict ours and it stands in no list of packages.
    mtcnn: Any = importlib.import_module("facenet_pytorch")
    return mtcnn.MTCNN(keep_all=True, device="cpu", min_face_size=least_px)
