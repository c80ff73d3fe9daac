"""Rows as a text-to-image model's answers give them, for the contract checks of metrics of pictures."""

from typing import Any

from mmunlearn.seeds import generator
from mmunlearn.testing.picture_world import NUMBERS, OBJECTS, STYLES, caption, picture_path


def picture_rows(name: str, strength: float, seed: int, n: int, *, noise: float = 1.0) -> list[dict[str, Any]]:
    """Rows of a model that draws what it is asked with a probability that grows with `strength`, else something drawn
    at random; with `noise` 0 always the same picture."""
    rows = []
    for i in range(n):
        asked = (STYLES[i % 3], OBJECTS[i // 3 % 3])
        own = generator(seed, "contract pictures", name, i)
        drawn = tuple(
            wanted if own.random() < 1 - 2.0 ** (-strength) else names[int(own.integers(3))] if noise else names[0]
            for wanted, names in zip(asked, (STYLES, OBJECTS), strict=True)
        )
        number = 1 + int(own.integers(NUMBERS)) if noise else 1
        rows.append(
            {
                "id": f"{name}/{i:03d}",
                "prompt": caption(*asked),
                "tag.style": asked[0],
                "tag.object": asked[1],
                "image": str(picture_path(drawn[0], drawn[1], number)),
                "label": "/".join(drawn),
                "value": float(drawn == asked),
                "nll": float(100 + i % 7 - strength),
                "count": 100,
            }
        )
    return rows
