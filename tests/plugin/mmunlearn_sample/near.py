"""Near answer: 1 when the predicted class is at most one away from the target."""

from collections.abc import Sequence

import numpy as np

from mmunlearn.judges.base import Item, Judge, Verdict


class Near(Judge):
    """Tolerant of neighbouring classes."""

    version = "1"

    def grade(self, items: Sequence[Item]) -> Sequence[Verdict]:
        """A verdict an item."""
        said = [int(np.argmax(item.fields["logits"][0])) for item in items]
        return [
            Verdict(float(abs(answer - int(item.example.target)) <= 1), str(answer), "", str(answer))
            for answer, item in zip(said, items, strict=True)
        ]
