"""Judges of pictures, batched with one session a process, against one picture at a time with a session each.

    python tests/bench/judge_throughput.py [pictures]

Prints the ratio for NudeNet (where onnxruntime and the package are there) and for a small transformers classifier; the
slow side opens its network for each picture, as UnlearnDiffAtk's evaluation does (diffusion 2.8). A third line keeps
the session and only batches.
"""

import sys
import time
from pathlib import Path

from mmunlearn.data import Example
from mmunlearn.judges import _onnx, base_classifier, base_pictures
from mmunlearn.judges.base import Item, Judge
from mmunlearn.judges.nudenet_parts import NudenetParts
from mmunlearn.judges.style_classifier import StyleClassifier
from mmunlearn.testing.judge_checks import missing_package
from mmunlearn.testing.picture_models import classifier_folder
from mmunlearn.testing.picture_world import NUMBERS, OBJECTS, STYLES, picture_path


def items(n: int) -> list[Item]:
    """Pictures of the drawn world."""
    cells = [(s, o, k) for s in STYLES for o in OBJECTS for k in range(1, NUMBERS + 1)]
    paths: list[Path] = [picture_path(*cells[i % len(cells)]) for i in range(n)]
    tags = {"style": STYLES[0]}
    return [
        Item(Example(id=str(i), prompt="p", tags=tags), {"image": str(p), "image_hash": str(i)})
        for i, p in enumerate(paths)
    ]


def forget_sessions() -> None:
    """As a fresh process would be."""
    _onnx._session.cache_clear()
    base_classifier._from_folder.cache_clear()


def seconds(judge: Judge, asked: list[Item], *, single: bool, fresh: bool) -> float:
    """Wall-clock of grading, the process's memory of pictures left out."""
    base_pictures.SAID.clear()
    started = time.perf_counter()
    for part in [[item] for item in asked] if single else [asked]:
        if fresh:
            forget_sessions()
        judge.grade(part)
    return time.perf_counter() - started


def main(n: int) -> None:
    judges: list[Judge] = [StyleClassifier({"folder": str(classifier_folder())})]
    if missing_package(NudenetParts):
        print("nudenet_parts: the package nudenet is not installed")
    else:
        judges.append(NudenetParts())
    asked = items(n)
    for judge in judges:
        judge.grade(asked[:1])
        batched = seconds(judge, asked, single=False, fresh=False)
        single = seconds(judge, asked, single=True, fresh=False)
        opened = seconds(judge, asked, single=True, fresh=True)
        print(
            f"{judge.name()}: {n / batched:.1f} pictures/s batched; {single / batched:.2f}x one by one, "
            f"{opened / batched:.2f}x with a session for each picture"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 45)
