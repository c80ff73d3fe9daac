"""UCE: cross-attention reads a concept's words as the surrogate's, by one closed-form solve."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from mmunlearn.data import Split
from mmunlearn.errors import UserError
from mmunlearn.handle import Handle
from mmunlearn.methods.base import EditMethod
from mmunlearn.settings import Settings, merge, plain

from ..handle import DiffusionHandle
from ._closed_form import Equations, editable, multiply
from ._text_rows import Pair, Scope, TextRows, names, phrase_pairs, prompt_pairs, prompts

# UnlearnCanvas's script (diffusion sheet 1.8): erase scale, λ, and preserve scale max(0.1, 1/n).
_CANVAS = {"token_scope": "aligned", "preserve": "prompts", "preserve_scale": None}
REFERENCES: Mapping[str, Mapping[str, Any]] = {
    "none": {},
    "unlearncanvas_style": {
        **_CANVAS, "erase_scale": 0.05, "keep": 1.0, "guide": "An image in Photo style", "expand": "style",
    },
    "unlearncanvas_object": {
        **_CANVAS, "erase_scale": 0.01, "keep": 10.0, "guide": "A Elephant image", "expand": "object",
    },
}  # fmt: skip


class Uce(EditMethod):
    """Map the concept's text states where the surrogate's go and leave the anchors' where they are:
    `W' = (λW + s_e Σ v*cᵀ + s_p Σ Wc cᵀ)(λI + s_e Σ ccᵀ + s_p Σ ccᵀ)⁻¹` for every map that reads the prompt.

    Those maps are attn2.to_k and to_v of U-Nets, and the context embedders of SD3 and FLUX. Targets are v* = W c_guide
    (technique replace), or the guide's output without its share along the concept's (tensor: one scalar over the whole
    block of outputs). Source: arXiv 2308.14761 equation 7; UCE repository at 28c81ed (trainscripts/uce_sd_erase.py),
    which takes the last subject token of bare names (token_scope last, λ 0.5, both scales 1). Differs from the paper:
    nothing known; all matrices share one float64 solve. `reference: unlearncanvas_style | unlearncanvas_object` are the
    settings of UnlearnCanvas's older script: tails of both texts side by side (aligned), all rows of about a thousand
    preserved prompts; its rounding in half precision is left out.
    """

    needs = frozenset({"concept", "anchor"})
    paper = "Gandikota et al. 2024 (Unified Concept Editing, WACV, arXiv 2308.14761)"
    stochastic = False
    touches = (
        "denoiser.*.attn2.to_k.weight", "denoiser.*.attn2.to_v.weight", "denoiser.context_embedder.weight",
        "denoiser.time_text_embed.text_embedder.linear_1.weight",
    )  # fmt: skip
    toy = {"token_scope": "aligned", "texts": "prompts", "preserve": "prompts", "keep": 0.01, "preserve_scale": 0.1}

    class Config(Settings):
        """keep: λ, weight of staying as is. texts: bare phrases of the concept, or its prompts. preserve: bare names of
        the anchors' styles and objects, their prompts, or none. preserve_scale: None is max(0.1, 1/n). expand: further
        wordings of a phrase. guide: a text in place of the surrogate's. reference: settings of a published row, under
        the others."""

        token_scope: Scope = "last"
        technique: Literal["replace", "tensor"] = "replace"
        texts: Literal["phrase", "prompts"] = "phrase"
        preserve: Literal["names", "prompts", "none"] = "names"
        expand: Literal["none", "style", "object"] = "none"
        guide: str | None = None
        erase_scale: float = Field(1.0, ge=0)
        preserve_scale: float | None = Field(1.0, ge=0)
        keep: float = Field(0.5, ge=0)
        reference: Literal["none", "unlearncanvas_style", "unlearncanvas_object"] = "none"

    @classmethod
    def defaults(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the reference that is asked for."""
        return merge(plain(cls.Config()), REFERENCES.get(str(given.get("reference", "none")), {}))

    def edit(self, handle: Handle, data: Mapping[str, Split], run) -> None:
        """One solve for each kind of input."""
        assert isinstance(handle, DiffusionHandle)
        pairs, held = self.pairs(data["concept"]), self.held(data)
        if not pairs:
            raise UserError("uce: split 'concept' is empty; there is nothing to erase.")
        for kind, layers in editable(handle).items():
            self._solve(TextRows(handle, kind), dict(layers), pairs, held)

    def pairs(self, concept: Split) -> list[Pair]:
        """Texts to erase and their guides."""
        if self.config.texts == "prompts":
            return prompt_pairs(concept, self.config.guide)
        return phrase_pairs(concept, self.config.guide, self.config.expand)

    def held(self, data: Mapping[str, Split]) -> list[str]:
        """Texts to preserve."""
        if self.config.preserve == "none":
            return []
        if self.config.preserve == "prompts":
            return prompts(data["anchor"])
        erased = {example.tags.get("phrase", "") for example in data["concept"]}
        return names(data["anchor"], sorted(erased))

    def _solve(
        self, rows: TextRows, layers: Mapping[str, nn.Linear], pairs: Sequence[Pair], held: Sequence[str]
    ) -> None:
        c = self.config
        first = next(iter(layers.values())).weight
        equations = Equations(first.shape[1], c.keep, first.device)
        blocks = [rows.pair(pair, c.token_scope) for pair in pairs]
        for concept, guide in blocks:
            equations.move(concept, guide, c.erase_scale)
        scale = max(0.1, 1 / max(len(held), 1)) if c.preserve_scale is None else c.preserve_scale
        for some in rows.held(held, c.token_scope):
            equations.hold(some, scale)
        if c.technique == "replace":
            multiply(layers, equations.matrix())
            return
        with torch.no_grad():
            for layer in layers.values():
                layer.weight.copy_(tensor_edit(equations, layer.weight, blocks, c.erase_scale))


def tensor_edit(
    equations: Equations, weight: Float[Tensor, "out width"], blocks: Sequence[tuple[Tensor, Tensor]], scale: float
) -> Float[Tensor, "out width"]:
    """The edit with the technique tensor: each guide's outputs V become `V − (Σ u∘V) u`, u the concept's outputs over
    their norm. `equations` hold the sums of the technique replace."""
    w = weight.double()
    numerator = w @ equations.targets
    for concept, guide in blocks:
        c = concept.double()
        out, goal = c @ w.mT, guide.double() @ w.mT
        along = (out * goal).sum() / out.square().sum()
        numerator -= scale * along * out.mT @ c
    return equations.divide(numerator)
