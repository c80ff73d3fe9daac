"""What the defences of UnLOK-VQA share: an edit of one layer for each fact, or for all facts together."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor

from mmunlearn.atomic import new_folder
from mmunlearn.data import Example, Split
from mmunlearn.errors import UserError
from mmunlearn.handle import Handle
from mmunlearn.methods.base import EditMethod, Need
from mmunlearn.seeds import generator
from mmunlearn.settings import Settings, digest, plain

from .. import single_edits
from ..edit_training import EditSettings, Row, Seen, path_of, train_edits
from ..handle import VlmHandle
from ..refusals import REFUSALS
from ..single_edits import Edits, Kind, joined, rebuilt, record_of

ALL = "all"


class SingleFactSettings(Settings):
    """scope: "each" gives every fact of the forget set an edit of its own, which answers that fact's examples alone
    (the benchmark's protocol); "all" trains one edit on all facts and writes it into the weights. edit: see
    EditSettings. reference: the released code's switches, see the method."""

    scope: Literal["each", "all"] = "each"
    edit: EditSettings = EditSettings()
    reference: bool = False


class SingleFactMethod(EditMethod):
    """Delete facts one by one by a small change of `mlp.down_proj` of one block; a subclass names the loss.

    The result carries a delta by record (`mmunlearn.vlm.single_edits`): examples whose tag `record` names a fact are
    answered by that fact's edit, all others by the model as it was. Finished groups of edits are kept in the run's
    checkpoints, so an interrupted run goes on where it stopped.
    """

    needs = frozenset({Need.FORGET})
    paper = "Patil et al. 2025, Unlearning Sensitive Information in Multimodal LLMs (TMLR)"
    kind: ClassVar[Kind] = "erase"
    # The toy's answers are two or three tokens known by heart; a rank of one and five steps leave them there.
    toy: ClassVar[Mapping[str, Any]] = {"edit": {"lr": 0.05, "steps": 12, "r": 2, "alpha": 4.0}}

    class Config(SingleFactSettings):
        """Settings of SingleFactSettings."""

    @abstractmethod
    def loss(self, seen: Seen, records: int) -> Tensor:
        """What is minimised, (record,), from one forward pass over the rows of `records` records."""

    def asked(self, handle: VlmHandle, fact: Example, seed: int) -> list[Example]:
        """Rows of one fact: the question with the answer that the loss reads."""
        return [fact]

    def touched(self, handle: Handle) -> tuple[str, ...]:
        """Nothing, or the edited weight where one edit serves all facts."""
        if self.config.scope == "each":
            return ()
        assert isinstance(handle, VlmHandle)
        path, _ = path_of(handle, self.config.edit.layer)
        return (f"*{path}.weight",)

    def edit(self, handle: Handle, data: Mapping[str, Split], run) -> None:
        """Train the deltas of all facts, group by group, and attach them (or write the one that serves all)."""
        assert isinstance(handle, VlmHandle)
        if single_edits.edits_of(handle.model) is not None:
            raise UserError(f"{self.name()}: the model carries edits already. Start from the original run.")
        facts = list(data["forget"])
        rows = [[Row(row, record_of(fact)) for row in self.asked(handle, fact, run.seed)] for fact in facts]
        settings: EditSettings = self.config.edit
        if self.config.scope == "all":
            one = [replace(row, record=ALL) for own in rows for row in own]
            edits = train_edits(handle, one, self.loss, settings, seed=run.seed, kind=self.kind)
            weight: Any = handle.model.get_submodule(edits.path).weight
            with torch.no_grad():
                weight.add_(edits.matrix(ALL).to(weight.dtype))
            return
        done = [
            self._group(handle, rows[start : start + settings.together], run)
            for start in range(0, len(rows), settings.together)
        ]
        single_edits.attach(handle.model, joined(done))

    def _group(self, handle: VlmHandle, rows: Sequence[Sequence[Row]], run) -> Edits:
        """The edits of one group, from the run's checkpoints or trained now."""
        flat = [row for own in rows for row in own]
        about = [plain(self.config), run.seed, [[r.example.id, r.example.prompt, r.example.target] for r in flat]]
        folder: Path = run.path / "checkpoints" / "edits" / digest(about)
        keys = list(dict.fromkeys(row.record for row in flat))
        file = folder / "edits.safetensors"
        if file.is_file():
            path, _ = path_of(handle, self.config.edit.layer)
            return rebuilt({"path": path, "keys": keys, "kind": self.kind}, load_file(file, str(handle.device)))
        edits = train_edits(handle, flat, self.loss, self.config.edit, seed=run.seed, kind=self.kind)
        tensors = {name: tensor.cpu().contiguous() for name, tensor in edits.state().items()}
        with new_folder(folder) as temporary:
            save_file(tensors, temporary / file.name)
        run.event("edits", records=len(keys))
        return edits


class HiddenStateSettings(SingleFactSettings):
    """layers: states that are defended (none: all that the edit can change; the reference: 22 to 32). erase: weight of
    fact erasure beside the hidden states' term (the released losses have none of it)."""

    layers: tuple[int, ...] = ()
    erase: float = Field(0.0, ge=0)


class HiddenStateMethod(SingleFactMethod):
    """A defence that works on what the logit lens reads of the hidden states."""

    class Config(HiddenStateSettings):
        """Settings of HiddenStateSettings."""

    def lens(self, seen: Seen) -> tuple[Tensor, Tensor]:
        """Probabilities (row, state, vocab) at the defended states, where the answer is predicted, and the answer's
        token (row, 1, 1)."""
        last = seen.first + len(seen.found) - 1
        states = list(self.config.layers) or list(range(seen.first, last + 1))
        wrong = [state for state in states if not seen.first <= state <= last]
        if wrong:
            raise UserError(
                f"method[{self.name()}].layers: the edit changes states {seen.first} to {last}, not {wrong[0]}."
            )
        # The reference protects the last token of the target while its attack looks for the first one.
        which: Literal["first", "last"] = "last" if self.config.reference else "first"
        found, token = seen.lens(states, which, legacy_double_norm=self.config.reference)
        return found.exp(), token[:, None, None]


def alternative(handle: VlmHandle, fact: Example, seed: int) -> str:
    """The fact's other answer: its tag, its first choice, or a refusal drawn by (seed, id)."""
    if fact.tags.get("alternative"):
        return fact.tags["alternative"]
    other = [choice for choice in fact.choices if choice != fact.target]
    if other:
        return other[0]
    return REFUSALS[int(generator(seed, "alternative", fact.id).integers(len(REFUSALS)))]
