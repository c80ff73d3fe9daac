"""UA over a sequence of requests, each unlearned from the checkpoint of the one before."""

from typing import Any, Literal

from pydantic import Field

from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value
from mmunlearn.settings import Settings

from ._answers import graded, mean_share, with_untagged
from ._requests import all_concepts
from .ua import concept_share


class SequentialUa(Metric):
    """UA after the run's step for the requests so far.

    reading `all`: mean UA of requests 1 … k after step k; `each`: UA of request number `about` alone (both natural
    readings of the paper); `first`: mean UA of requests 1 … `about` after step k, which is what the released script of
    SAeUron computes (diffusion 1.7). about counts from 1; 0: the last. A request's UA is that of metric ua.

    >>> import numpy as np
    >>> from mmunlearn.records import Rows
    >>> said = {"tag.style": ["A", "B"], "tag.object": ["x", "x"], "label": ["B/x", "B/x"]}
    >>> sight = Sight(Rows(("1", "2"), {k: np.array(v, object) for k, v in said.items()}))
    >>> asked = [{"kind": "style", "name": "A"}, {"kind": "style", "name": "B"}]
    >>> SequentialUa({"requests": asked}).reduce(sight)[:2]
    (0.5, 2)
    >>> SequentialUa({"requests": asked, "reading": "each", "about": 1}).reduce(sight)[:2]
    (1.0, 1)
    """

    class Config(Settings):
        """requests: {kind, name} in order, where they are not the run's own. reading, about: see above."""

        requests: tuple[dict[str, Any], ...] = ()
        reading: Literal["all", "each", "first"] = "all"
        about: int = Field(0, ge=0)

    better = "higher"
    columns = ("label", "tag.style", "tag.object")
    measures = "forgetting"
    reads = "pictures"
    check_settings = {"requests": [{"kind": "style", "name": "Dots"}, {"kind": "object", "name": "Disc"}]}

    def reduce(self, sight: Sight) -> Value:
        """n: pictures of the requests counted; 0 where `about` lies ahead of the run's step or nothing was asked."""
        found = graded(sight)
        if found is None:
            return NOTHING
        gone = all_concepts(sight, self.config.requests, self.name())
        about = self.config.about or len(gone)
        if not gone or about > len(gone):
            return NOTHING
        chosen = {"all": gone, "each": gone[about - 1 : about], "first": gone[:about]}[self.config.reading]
        parts = [concept_share(found, concept) for concept in chosen]
        note = f"reading {self.config.reading}, after step {len(gone)}, {len(chosen)} requests"
        return with_untagged(mean_share(parts, note, forgotten=True), found)
