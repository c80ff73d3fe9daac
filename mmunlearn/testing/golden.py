"""Golden trajectories: the objective's terms at the first steps of every gradient method on its toy task.

A change that should not alter results leaves them as they are; one that should records them anew and says so.

    python -m mmunlearn.testing.golden            record all anew
    python -m mmunlearn.testing.golden core:npo   record some, keep the others
"""

import json
import sys
import tempfile
from pathlib import Path

from mmunlearn import registry
from mmunlearn.atomic import write_json
from mmunlearn.methods.base import GradientMethod
from mmunlearn.run import Run
from mmunlearn.testing.method_checks import toy, toy_config

FILE = Path(__file__).parents[2] / "tests" / "golden" / "methods.json"
STEPS = 10


def trajectory(name: str) -> list[dict[str, float]]:
    """Terms at the first steps of the method "modality:name"."""
    modality, _, method = name.partition(":")
    cls = registry.load("methods", method, None if modality == "core" else modality)
    task = toy(modality)
    with tempfile.TemporaryDirectory() as folder:
        run = Run.scratch(Path(folder), 0, device="cpu", log_every=1)
        cls(toy_config(cls)).apply(task.original.copy(), task.splits, run)
        return [event["terms"] for event in run.events("step")[:STEPS]]


def names() -> list[str]:
    """Gradient methods of the core and of the siblings."""
    return [
        f"{component.modality}:{component.name}"
        for component in registry.components("methods")
        if component.modality in {"core", "vision", "vlm", "diffusion"} and issubclass(component.load(), GradientMethod)
    ]


def stored() -> dict[str, list[dict[str, float]]]:
    """What was recorded."""
    return json.loads(FILE.read_text(encoding="utf-8")) if FILE.is_file() else {}


if __name__ == "__main__":
    kept = stored() if sys.argv[1:] else {}
    write_json(FILE, kept | {name: trajectory(name) for name in sys.argv[1:] or names()})
