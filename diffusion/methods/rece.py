"""RECE: after UCE, find in closed form what still reads as the concept, and erase that too, some rounds long."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from mmunlearn.data import Split
from mmunlearn.handle import Handle
from mmunlearn.methods.base import EditMethod
from mmunlearn.settings import Settings, plain

from ..handle import DiffusionHandle
from ._closed_form import Equations, editable, multiply
from ._guarding import phrases
from ._text_rows import TextRows, prompts
from .uce import Uce


class Rece(EditMethod):
    """UCE, then `rounds` times: the rows c' that the edited maps read as the original ones read the concept's c, and a
    further closed-form edit that maps c' to the guide.

    `c' = c [(λ' I + Σ W_nowᵀ W_now)⁻¹ Σ W_nowᵀ W_original]ᵀ`, sums over all maps of one input, for all rows of the bare
    phrase; row by row they are mapped to the guide's rows (" "), and " " is preserved. Source: arXiv 2407.12383; RECE
    repository at 403a67f (train.py, `close_regzero`): λ 0.1, λ' 0.1 (styles and hard objects 1e-3), three rounds for
    nudity, one for styles. Differs from the paper: nothing known; validation pictures between rounds are left out.
    """

    needs = frozenset({"concept", "anchor"})
    paper = "Gong et al. 2024 (RECE, ECCV, arXiv 2407.12383)"
    stochastic = False
    touches = Uce.touches
    toy = {"uce": {**Uce.toy}, "preserve": "prompts", "keep": 0.01}

    class Config(Settings):
        """uce: settings of the first edit. rounds: adversarial edits after it. regularisation: λ'. keep: λ of those
        edits. guide: what the adversarial rows shall read as. preserve: a blank text, or the anchors' prompts too."""

        uce: Uce.Config = Uce.Config(token_scope="aligned", keep=0.1, preserve_scale=0.1)
        rounds: int = Field(3, ge=0)
        regularisation: float = Field(0.1, gt=0)
        keep: float = Field(0.1, ge=0)
        erase_scale: float = Field(1.0, ge=0)
        preserve_scale: float = Field(0.1, ge=0)
        preserve: str = Field("blank", pattern="^(blank|prompts)$")
        guide: str = " "

    def edit(self, handle: Handle, data: Mapping[str, Split], run) -> None:
        """The first edit, then the rounds."""
        assert isinstance(handle, DiffusionHandle)
        original = {name: layer.weight.detach().clone() for name, layer in handle.context_layers()}
        Uce(plain(self.config.uce)).edit(handle, data, run)
        texts = phrases(data["concept"], self.name())
        held = [" ", *(prompts(data["anchor"]) if self.config.preserve == "prompts" else [])]
        for _ in range(self.config.rounds):
            for kind, layers in editable(handle).items():
                before = [original[name] for name, _ in layers]
                self._round(TextRows(handle, kind), dict(layers), before, (texts, held))

    def _round(
        self,
        rows: TextRows,
        layers: Mapping[str, nn.Linear],
        before: Sequence[Tensor],
        texts: tuple[Sequence[str], Sequence[str]],
    ) -> None:
        c = self.config
        shift = adversarial([layer.weight for layer in layers.values()], before, c.regularisation)
        equations = Equations(len(shift), c.keep, shift.device)
        guide = rows.encoded([c.guide])[0]
        for states in rows.encoded(texts[0]):
            equations.move(states.double() @ shift.mT, guide, c.erase_scale)
        for some in rows.held(texts[1], "aligned"):
            equations.hold(some, c.preserve_scale)
        multiply(layers, equations.matrix())


@torch.no_grad()
def adversarial(now: Sequence[Tensor], before: Sequence[Tensor], regularisation: float) -> Float[Tensor, "width width"]:
    """The matrix T with which `T c` is read by the maps `now` as c was by those `before`, least squares over all maps,
    regularised towards zero."""
    width = now[0].shape[1]
    gram = regularisation * torch.eye(width, dtype=torch.float64, device=now[0].device)
    cross = torch.zeros_like(gram)
    for new, old in zip(now, before, strict=True):
        gram += new.double().mT @ new.double()
        cross += new.double().mT @ old.double()
    return torch.cholesky_solve(cross, torch.linalg.cholesky(gram))
