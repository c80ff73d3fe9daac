"""Retain accuracy (RA) over a sequence of requests: what is not yet requested."""

from typing import Any, Literal

import numpy as np
from pydantic import Field

from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value
from mmunlearn.settings import Settings

from ._answers import class_shares, graded, mean_share, with_untagged
from ._requests import all_concepts, kept_objects, kept_styles


class SequentialRa(Metric):
    """(IRA + CRA) / 2 over what is not yet requested: the mean of the style head's accuracy over retained styles and of
    the object head's over retained objects.

    reading `natural`: after step k, without the requests 1 … k. `saeuron`: without the first `about` requests only,
    whatever else was requested; the released script of SAeUron takes it from the checkpoint of the last step for every
    `about` (diffusion 1.7), so give it to that run. Objects of a style sequence are all retained, and the reverse.

    >>> from mmunlearn.records import Rows
    >>> said = {"tag.style": ["A", "B"], "tag.object": ["x", "x"], "label": ["B/x", "B/y"]}
    >>> sight = Sight(Rows(("1", "2"), {k: np.array(v, object) for k, v in said.items()}))
    >>> SequentialRa({"requests": [{"kind": "style", "name": "A"}]}).reduce(sight)[:2]
    (0.75, 3)
    """

    class Config(Settings):
        """requests: {kind, name} in order, where they are not the run's own. reading, about: see above (0: all).
        exclude_seed_images: as in IRA."""

        requests: tuple[dict[str, Any], ...] = ()
        reading: Literal["natural", "saeuron"] = "natural"
        about: int = Field(0, ge=0)
        exclude_seed_images: bool = True

    better = "higher"
    columns = ("label", "tag.style", "tag.object")
    reads = "pictures"
    check_settings = {"requests": [{"kind": "style", "name": "Dots"}]}

    def reduce(self, sight: Sight) -> Value:
        """n: answers counted (a picture is one for each head that looks at it)."""
        found = graded(sight)
        if found is None:
            return NOTHING
        gone = all_concepts(sight, self.config.requests, self.name())
        about = self.config.about or len(gone)
        if not gone or about > len(gone):
            return NOTHING
        out = gone[:about] if self.config.reading == "saeuron" else gone
        styles = kept_styles(found.style, out, exclude_seed_images=self.config.exclude_seed_images)
        objects = kept_objects(found.object, out)
        each = [mean_share(class_shares(found, "style", styles)), mean_share(class_shares(found, "object", objects))]
        unscored = sum(value.unscored for value in each)
        if not all(value.n for value in each):
            return with_untagged(NOTHING._replace(unscored=unscored), found)
        error = float(np.sqrt(sum((value.stderr or 0.0) ** 2 for value in each)) / 2)
        note = f"reading {self.config.reading}: {len(styles)} styles and {len(objects)} objects"
        value = float(np.mean([value.value for value in each]))
        return with_untagged(Value(value, sum(v.n for v in each), error, unscored, note=note), found)
