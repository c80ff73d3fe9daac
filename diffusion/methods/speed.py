"""SPEED: a closed-form edit inside the null space of what must stay."""

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from mmunlearn.data import Split
from mmunlearn.errors import UserError
from mmunlearn.handle import Handle
from mmunlearn.methods.base import EditMethod
from mmunlearn.seeds import derive
from mmunlearn.settings import Settings

from ..handle import DiffusionHandle
from ._closed_form import editable
from ._guarding import mentions
from ._text_rows import TextRows, names, phrase_pairs, prompts
from .uce import Uce

CENTRES = 3  # of the empty prompt's rows


class Rows(NamedTuple):
    """What the edit of one kind of map is made from: mean Grams of the concept, retained rows, rows that never move."""

    concept: Float[Tensor, "width width"]  # mean c cᵀ
    crossed: Float[Tensor, "width width"]  # mean c_anchor cᵀ
    retained: Float[Tensor, "row width"]
    still: Float[Tensor, "width column"]


class Speed(EditMethod):
    """Move the concept's last token to the surrogate's without moving retained rows:
    `ΔW = W (S_at − S_tt) P (I − M K (Kᵀ P M K + λI)⁻¹ Kᵀ P) M`, `M = (S_tt P + s I)⁻¹`.

    P projects onto the directions in which the mean Gram of retained rows is below `threshold`; K holds the empty
    prompt's first row and three k-means centres of its others, which stay too. For each map, retained rows are those
    that a plain edit would move more than the average, and noisy copies of them that it would (noise along the
    direction that the map hears least). Source: arXiv 2503.07392; SPEED repository at 6d3df0c (train_erase_null.py).
    Differs from the paper: nothing known; float64, and names are retained where the code reads lists of them.
    """

    needs = frozenset({"concept", "anchor"})
    paper = "Li et al. 2026 (SPEED, ICLR, arXiv 2503.07392)"
    touches = Uce.touches
    toy = {"retain_scale": 0.05, "augment": 2}

    class Config(Settings):
        """maps: which of attn2.to_k, to_v are edited (transformers: their context embedder). threshold: of singular
        values that count as none. augment: noisy copies a row (0: none). retain_scale: s. still: λ. filter: retain only
        what would move most. retain: names or prompts of the anchors. guide: in place of the surrogate."""

        maps: Literal["v", "k", "kv"] = "v"
        threshold: float = Field(0.1, gt=0)
        augment: int = Field(10, ge=0)
        retain_scale: float = Field(1.0, gt=0)
        still: float = Field(0.0, ge=0)
        filter: bool = True
        retain: Literal["names", "prompts"] = "names"
        guide: str | None = None

    def edit(self, handle: Handle, data: Mapping[str, Split], run) -> None:
        """One small solve a map."""
        assert isinstance(handle, DiffusionHandle)
        for kind, layers in editable(handle).items():
            rows = self._rows(TextRows(handle, kind), data, derive(run.seed, "sample", "speed", kind))
            draw = torch.Generator().manual_seed(derive(run.seed, "noise", "speed", kind))
            with torch.no_grad():
                for name, layer in layers:
                    if name[-4:] not in ("to_k", "to_v") or name[-1] in self.config.maps:
                        layer.weight.add_(self._change(layer, rows, draw))

    def _rows(self, reader: TextRows, data: Mapping[str, Split], seed: int) -> Rows:
        pairs = phrase_pairs(data["concept"], self.config.guide, "none")
        read = [tuple(part.double() for part in reader.pair(pair, "last")) for pair in pairs]
        if not read:
            raise UserError("speed: split 'concept' is empty; there is nothing to erase.")
        concept = torch.stack([c.mT @ c for c, _ in read]).mean(0)
        crossed = torch.stack([g.mT @ c for c, g in read]).mean(0)
        words = [pair.text for pair in pairs]
        texts = prompts(data["anchor"]) if self.config.retain == "prompts" else names(data["anchor"], words)
        texts = [text for text in texts if not any(mentions(text, word) for word in words)]
        if not texts:
            raise UserError("speed: no anchor is free of the concept's words; there is nothing to retain.")
        retained = torch.cat([part.double() for part in reader.held(texts, "last")])
        return Rows(concept, crossed, retained, centres(reader.encoded([""])[0].double(), seed))

    def _change(self, layer: nn.Linear, rows: Rows, draw: torch.Generator) -> Float[Tensor, "out width"]:
        c, weight = self.config, layer.weight.double()
        eye = torch.eye(weight.shape[1], dtype=weight.dtype, device=weight.device)
        plain = weight @ (rows.crossed - rows.concept) @ torch.linalg.inv(eye + rows.concept)
        kept = above_mean(rows.retained, plain) if c.filter and c.augment else rows.retained
        kept = torch.cat([kept, *noisy(kept, weight, plain, c.augment, draw)])
        free = null_space(kept.mT @ kept / len(kept), c.threshold)
        m = torch.linalg.inv(rows.concept @ free + c.retain_scale * eye)
        k = rows.still
        inner = k.mT @ free @ m @ k + c.still * torch.eye(k.shape[1], dtype=k.dtype, device=k.device)
        held = m @ k @ torch.linalg.pinv(inner, hermitian=False) @ k.mT @ free
        return (weight @ (rows.crossed - rows.concept) @ free @ (eye - held) @ m).to(layer.weight.dtype)


def above_mean(rows: Float[Tensor, "row width"], change: Float[Tensor, "out width"]) -> Float[Tensor, "kept width"]:
    """Rows whose output `change` moves more than it moves the average row; all where none stands out."""
    moved = (rows @ change.mT).norm(dim=1)
    chosen = moved > moved.mean()
    return rows[chosen] if chosen.any() else rows


def noisy(
    rows: Float[Tensor, "row width"], weight: Tensor, change: Tensor, copies: int, draw: torch.Generator
) -> Iterator[Float[Tensor, "kept width"]]:
    """Copies with Gaussian noise along the last right singular vector of `weight`; those that `change` moves most."""
    if not copies:
        return
    last = torch.linalg.svd(weight, full_matrices=False).Vh[-1:]
    many = rows.repeat(copies, 1)
    noise = torch.randn(many.shape, generator=draw, dtype=torch.float64).to(many.device)
    yield above_mean(many + noise @ last.mT @ last, change)


def null_space(gram: Float[Tensor, "width width"], threshold: float) -> Float[Tensor, "width width"]:
    """Projection onto the singular directions whose value is below `threshold`."""
    left, values, _ = torch.linalg.svd(gram)
    free = left[:, values < threshold]
    return free @ free.mT


def centres(rows: Float[Tensor, "row width"], seed: int) -> Float[Tensor, "width column"]:
    """The first row and k-means centres of the others, as columns; a pooled prompt's single row alone."""
    import warnings

    from sklearn.cluster import KMeans

    others = rows[1:].cpu().numpy()
    if len(others) < CENTRES:
        return rows.mT
    with warnings.catch_warnings():  # fewer distinct rows than centres: the same centre more than once
        warnings.simplefilter("ignore")
        found = KMeans(CENTRES, n_init=1, random_state=seed % 2**32).fit(others).cluster_centers_
    return torch.cat([rows[:1], torch.from_numpy(found).to(rows)]).mT
