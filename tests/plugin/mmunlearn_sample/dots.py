"""Dots: one-colour pictures in a folder, named `<split>-<number>-<label>.png`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmunlearn.benchmark import Benchmark
from mmunlearn.cards import Edition
from mmunlearn.data import Example, ImageRef, Role, Split
from mmunlearn.errors import UserError
from mmunlearn.seeds import generator

ROLES = {"forget": Role.FORGET, "retain": Role.RETAIN, "test": Role.HOLDOUT, "unseen": Role.UNSEEN}


class Dots(Benchmark):
    """A handful of pictures; their colour is their label."""

    def splits(self, root: Path, edition: Edition) -> Mapping[str, Split]:
        """Splits by name, in the order of the file names."""
        found = {}
        for name, role in ROLES.items():
            files = sorted(root.glob(f"{name}-*.png"))
            if not files:
                raise UserError(f"{root}: holds no {name}-*.png. Get the dots again.")
            examples = (
                Example(id=f"dots/{path.stem}", image=ImageRef(path), target=int(path.stem[-1])) for path in files
            )
            found[name] = Split(name, role, tuple(examples))
        return found

    def build_mini(self, root: Path, seed: int) -> None:
        """Write eight pictures a split."""
        from PIL import Image

        draw = generator(seed, "dots")
        for name in ROLES:
            for index in range(8):
                label = int(draw.integers(2))
                Image.new("RGB", (8, 8), (255 * label, 40, 90)).save(root / f"{name}-{index}-{label}.png")

    def model(self, edition: Edition) -> dict[str, Any]:
        """The card's model."""
        return dict(self.card.editions[edition].model)
