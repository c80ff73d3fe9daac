"""Image strips: pictures of a split with their label and what each model answers."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmunlearn.data import Example, ImageRef
from mmunlearn.errors import UserError
from mmunlearn.records import Rows
from mmunlearn.report.runs import Finished

SIDE_PX = 104
SHOWN = 8


@dataclass(frozen=True)
class Answer:
    """What a model says about a picture; `right` None where there is nothing to compare with."""

    row: str
    text: str
    right: bool | None
    confidence_frac: float | None


@dataclass(frozen=True)
class Picture:
    """A picture as a data URI, its id and label and the models' answers."""

    source: str
    id: str
    label: str
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Strip:
    """Some pictures of a split."""

    split: str
    what: str
    pictures: tuple[Picture, ...]


def make_strip(
    split: str, what: str, examples: Sequence[Example], models: Mapping[str, Finished], labels: Mapping[int, str]
) -> Strip | None:
    """Pictures spread evenly over the split's order, with the answers of `models` (title -> run); None without any."""
    able = [example for example in examples if example.image is not None]
    if not able:
        return None
    picked = [able[index] for index in np.unique(np.linspace(0, len(able) - 1, min(SHOWN, len(able))).astype(int))]
    answers = {title: run.responses(split) for title, run in models.items()}
    pictures = [
        Picture(
            source=thumbnail(example),
            id=example.id,
            label=_target_text(example.target, labels),
            answers=tuple(
                answer_of(title, rows, example, labels) for title, rows in answers.items() if rows is not None
            ),
        )
        for example in picked
    ]
    return Strip(split, what, tuple(pictures))


def thumbnail(example: Example) -> str:
    """The picture, at most SIDE_PX pixels a side, as a JPEG data URI; empty where the file cannot be read."""
    assert example.image is not None
    return data_uri(example.image, SIDE_PX)


def data_uri(picture: ImageRef, side_px: int) -> str:
    """The picture for a place of `side_px` pixels (twice as fine where it has more), as a JPEG data URI; "" where it
    cannot be read."""
    try:
        image = picture.open(draft_px=side_px)
    except UserError:
        return ""
    image.thumbnail((2 * side_px, 2 * side_px))
    stream = io.BytesIO()
    image.save(stream, format="JPEG", quality=86)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def answer_of(title: str, rows: Rows, example: Example, labels: Mapping[int, str]) -> Answer:
    """A stored response in words: the class with its probability, the label vector, or the text."""
    try:
        index = rows.ids.index(example.id)
    except ValueError:
        return Answer(title, "no response", None, None)
    if "logits" in rows and "target" in rows:
        logits = np.atleast_2d(np.asarray(rows["logits"][index], dtype=float))
        target = np.atleast_1d(np.asarray(rows["target"][index], dtype=float))
        yes_no = logits.shape[-1] == 1  # label vectors: one logit a label
        said = (logits[:, 0] > 0).astype(int) if yes_no else logits.argmax(axis=-1)
        right = bool((said == target).all())
        if len(said) == 1 and not yes_no:
            shifted = np.exp(logits[0] - logits[0].max())
            return Answer(title, _class_text(int(said[0]), labels), right, float(shifted.max() / shifted.sum()))
        return Answer(title, _target_text(tuple(int(v) for v in said), labels), right, None)
    if "text" in rows:
        text = str(rows["text"][index])
        return Answer(title, text, text == example.target if isinstance(example.target, str) else None, None)
    loss = float(rows["nll"][index]) if "nll" in rows else math.nan
    return Answer(title, f"loss {loss:.3g}", None, None)


def _class_text(index: int, labels: Mapping[int, str]) -> str:
    return labels.get(index, f"class {index}")


def _target_text(target: Any, labels: Mapping[int, str]) -> str:
    if target is None:
        return ""
    if isinstance(target, int):
        return _class_text(target, labels)
    if isinstance(target, (tuple, list)):
        named = [labels.get(index, str(index)) for index, value in enumerate(target) if value]
        return ", ".join(named) if labels else " ".join(str(value) for value in target)
    return str(target)
