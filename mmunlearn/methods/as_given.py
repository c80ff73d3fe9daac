"""As given: changes nothing. The original of a benchmark whose model comes pretrained and is never trained here."""

from collections.abc import Mapping
from typing import ClassVar

from mmunlearn.data import Split
from mmunlearn.handle import Handle
from mmunlearn.methods.base import EditMethod


class AsGiven(EditMethod):
    """Keep the weights that were loaded; MMUBench and SafeEraser unlearn from a published model."""

    paper = "none: the model before unlearning"
    touches: ClassVar[tuple[str, ...]] = ()
    stochastic = False

    def edit(self, handle: Handle, data: Mapping[str, Split], run) -> None:
        """Nothing."""
