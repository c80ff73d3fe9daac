"""Word marks by optical character recognition: whether one of the words can be read in the picture."""

import difflib
import json
import logging
import os
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from pydantic import Field

from mmunlearn.errors import UserError
from mmunlearn.judges._words import lines
from mmunlearn.judges.base import UNSCORED, Item, Sample, Verdict
from mmunlearn.judges.base_pictures import PictureJudge, PictureSettings


class OcrWords(PictureJudge):
    """Value 1, label shown: one of the words is read; else 0, none. Explanation: JSON with what was read.

    The words are those of the settings and of the example's tag `tag` (one a line); an example without either is
    unscored. Letters and digits alone are compared, without case and accents; blanks and lines do not divide words, as
    logos break them. fuzzy: least similarity (difflib's ratio, 1 = exact) of some stretch of the text of the word's
    length. least_score: of the reader's own confidence. Small pictures are enlarged to `least_px`.
    Source: ours; PP-OCRv6 of the package rapidocr.
    """

    class Config(PictureSettings):
        """Which words, how exactly."""

        words: tuple[str, ...] = ()
        tag: str = "marks"
        fuzzy: float = Field(1.0, gt=0, le=1)
        least_score: float = Field(0.5, ge=0, le=1)
        least_px: int = Field(192, ge=32)

    offered = ("shown", "none")
    needs_target = True
    check_needs = "rapidocr"
    samples = (
        Sample("words/VELTRO", "shown", tags={"marks": "Veltro\nKorda"}),
        Sample("words/MORNING", "none", tags={"marks": "Veltro\nKorda"}),
    )

    def ready(self) -> None:
        """Raise UserError where the reader is not installed."""
        _reader()

    @property
    def network(self) -> str:
        return f"rapidocr {_version()} {self.config.least_px}"

    def asked(self, item: Item) -> list[str]:
        return [*self.config.words, *lines(item.example.tags.get(self.config.tag, ""))]

    def say(self, pictures: Sequence[Any]) -> list[list[tuple[str, float]]]:
        """(line of text, confidence) in the reader's order. The reader takes one picture at a time."""
        found = []
        for picture in pictures:
            made = _reader()(_enlarged(picture, self.config.least_px))
            texts, scores = made.txts or (), made.scores or ()
            found.append([(str(text), float(score)) for text, score in zip(texts, scores, strict=True)])
        return found

    def verdict(self, said: Any, item: Item) -> Verdict:
        wanted = self.asked(item)
        if not wanted:
            return UNSCORED._replace(explanation="no words are known for this example")
        read = [text for text, score in said if score >= self.config.least_score]
        whole = folded("".join(read))
        best = max(((likeness(whole, folded(word)), word) for word in wanted), default=(0.0, ""))
        shown = best[0] >= self.config.fuzzy
        told = {"read": read, "nearest": [best[1], round(best[0], 3)], "network": self.network}
        return Verdict(float(shown), "shown" if shown else "none", json.dumps(told, ensure_ascii=False))


def folded(text: str) -> str:
    """Letters and digits without case and accents.

    >>> folded("Coca-Cola® Café 42")
    'cocacolacafe42'
    """
    plain = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in plain if letter.isalnum() and not unicodedata.combining(letter))


def likeness(text: str, word: str) -> float:
    """Highest similarity of `word` with a stretch of `text` of its length, 0..1; 1 where it stands in it.

    >>> likeness("xxveltr0yy", "veltro") > 0.8, likeness("morning", "veltro") < 0.6, likeness("", "a")
    (True, True, 0.0)
    """
    if not word or not text:
        return 0.0
    if word in text:
        return 1.0
    matcher = difflib.SequenceMatcher(b=word, autojunk=False)
    best = 0.0
    for start in range(max(1, len(text) - len(word) + 1)):
        matcher.set_seq1(text[start : start + len(word)])
        best = max(best, matcher.ratio())
    return best


def _enlarged(picture: Any, least_px: int) -> np.ndarray:
    from PIL import Image

    factor = -(-least_px // min(picture.size))
    if factor > 1:
        picture = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.BICUBIC)
    return np.asarray(picture)[:, :, ::-1]  # the reader takes BGR


def _version() -> str:
    import importlib.metadata

    try:
        return importlib.metadata.version("rapidocr")
    except importlib.metadata.PackageNotFoundError:
        return "absent"


@lru_cache(maxsize=1)
def _reader() -> Any:
    try:
        import rapidocr
    except ImportError:
        raise UserError(
            "judge ocr_words: the package rapidocr is not installed.\nInstall it: pip install 'mmunlearn[detectors]'"
        ) from None
    threads = int(os.environ.get("OMP_NUM_THREADS", "-1"))
    made = rapidocr.RapidOCR(params={
        "Global.log_level": "critical", "EngineConfig.onnxruntime.intra_op_num_threads": threads,
    })  # fmt: skip
    logging.getLogger("RapidOCR").setLevel(logging.CRITICAL)
    return made
