"""Fine-tuning after the edit: teach the edited model something else beside the fact, then read its layers again."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from torch import Tensor

from mmunlearn.attacks.base import Metered
from mmunlearn.attacks.base_goals import Reading
from mmunlearn.data import Example

from ..edit_training import EditSettings, Row, Seen, sum_by_record, train_edits
from ..handle import VlmHandle
from ..single_edits import record_of
from ..unlok.wording import other_prompt
from ._lens import LensReadout, LensSettings

SAMPLE = ("Which river flows through the middle of the United States?", "Mississippi")


class FineTuneAfterEdit(LensReadout):
    """Fine-tune each goal's edit on other facts with plain likelihood, then read out as head projection (or the
    differences) does. The deleted fact itself is never shown: a collateral relearning attack.

    on: the questions beside the fact in its tag `neighbours` (with its picture), or one fixed sample about a river.
    Source: vlm_unlok_offside_med 1.5 (lr 9e-6, 10 epochs; the flag neigh_ft). Differs from the paper: the fixed
    sample's question is ours (the released file is not in the repository); all goals are trained in one batch, each
    with parameters of its own, which gives what training one by one gives."""

    paper = "Patil et al. 2025 (UnLOK-VQA)"

    class Config(LensSettings):
        """on: what is taught. read_out: which rows are ranked. edit: how the edited layer is trained further."""

        on: Literal["neighbours", "sample"] = "neighbours"
        read_out: Literal["probability", "delta", "second"] = "probability"
        edit: EditSettings = EditSettings(lr=9e-6, steps=10)

    def rows(self, p: Tensor) -> Tensor:
        """Probabilities or their differences, as `read_out` says."""
        order = {"probability": 0, "delta": 1, "second": 2}[self.config.read_out]
        for _ in range(order):
            p = p.diff(dim=1)
        return p

    def read(self, handle: Metered, goals: Sequence[Example], seed: int) -> list[list[Reading]]:
        """Train, then read."""
        inner: VlmHandle = handle.inner
        rows = [Row(row, record_of(goal)) for goal in goals for row in self._taught(goal)]
        extra = train_edits(inner, rows, _likelihood, self.config.edit, seed=seed)
        ids = [goal.id for goal in goals]
        for _ in range(self.config.edit.steps):
            handle.spend(ids, gradient_steps=1)
        for goal in goals:
            handle.spend([goal.id], queries=self.config.edit.steps * len(self._taught(goal)) + 1)
        return self.readings(inner, goals, extra)

    def _taught(self, goal: Example) -> list[Example]:
        """What is taught beside a goal."""
        lines = [line.split("\t") for line in goal.tags.get("neighbours", "").split("\n") if "\t" in line]
        if self.config.on == "sample" or not lines:
            lines = [list(SAMPLE)]
        return [
            replace(goal, prompt=other_prompt(question), target=answer, choices=()) for question, answer in lines
        ]  # fmt: skip


def _likelihood(seen: Seen, records: int) -> Tensor:
    """−log p of the answers, summed over each goal's rows."""
    return -sum_by_record(seen.logprob(), seen.owner, records)
