"""MACE: closed form against what other words say of the concept, then adapters against its own words, then fusion."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from mmunlearn.data import Example, Split
from mmunlearn.errors import UserError
from mmunlearn.handle import Handle
from mmunlearn.methods.base import EditMethod
from mmunlearn.seeds import derive, generator
from mmunlearn.settings import Settings

from ..attention import CrossAttention
from ..handle import DiffusionHandle
from ..latents import picture
from ._closed_form import Equations, editable, multiply
from ._guarding import mentions, phrases
from ._low_rank import attach, detach
from ._text_rows import TextRows, prompts

MASK_TIME = 250  # at which the model's own attention makes masks: between the bounds of the draws of t


class Mace(EditMethod):
    """Refine attn2.to_k and to_v so that the words around the concept read as around its surrogate; train a low-rank
    change of them a concept that lowers the attention of its own words inside the object's mask; fuse the changes.

    1. `W' = (λW + Σ Wg cᵀ + p Σ Wr rᵀ)(λI + Σ ccᵀ + p Σ rrᵀ)⁻¹`, c and g all rows of prompt and surrogate prompt but
    those of the phrases, cut to the same number; r all rows of the anchors' prompts. 2. Per concept, `iterations` steps
    of Adam on the sum over layers of the 2-norm of the phrase's attention inside the mask, at times drawn in proportion
    to σ(0.05 (t − 200)) − σ(0.05 (t − 400)). 3. The same closed form with all rows of the concept's prompts, targets
    (W' + LoRA_k) c. Source: arXiv 2403.06135; MACE repository at 057e7a6. Differs from the reference: masks come from
    the original model's own cross-attention unless `masks` names a folder, where the code asks a segmenter; anchors of
    the benchmark stand for its cache of COCO captions, with a weight p of our own.
    """

    needs = frozenset({"concept", "anchor", "forget"})
    paper = "Lu et al. 2024 (MACE, CVPR, arXiv 2403.06135)"
    touches = ("denoiser.*.attn2.to_k.weight", "denoiser.*.attn2.to_v.weight")
    toy = {"keep": 0.01, "fuse_keep": 0.1, "iterations": 3, "lr": 0.02, "batch_size": 4, "preserve_scale": 0.1}

    class Config(Settings):
        """keep, fuse_keep: λ of both closed forms. preserve_scale: p. pictures: of the concept, at most, that the
        adapters see. masks: folder of <id with / as _>.png, white where the object is. mask_share: of the own
        attention's range above which a cell belongs to the object."""

        keep: float = Field(100.0, gt=0)
        fuse_keep: float = Field(100.0, gt=0)
        preserve_scale: float = Field(0.1, ge=0)
        rank: int = Field(1, ge=1)
        lr: float = Field(1e-5, gt=0)
        iterations: int = Field(50, ge=0)
        batch_size: int = Field(1, ge=1)
        pictures: int = Field(8, ge=1)
        masks: str | None = None
        mask_share: float = Field(0.5, ge=0, le=1)

    def edit(self, handle: Handle, data: Mapping[str, Split], run) -> None:
        """The three stages."""
        assert isinstance(handle, DiffusionHandle)
        if handle.family.joint:
            raise UserError(f"mace: changes cross-attention, which {handle.family.name} has none of.")
        words, c = phrases(data["concept"], self.name()), self.config
        layers = dict(editable(handle)["states"])
        reader, held = TextRows(handle), prompts(data["anchor"])
        masks = {word: self._masks(handle, self._seen(data["forget"], word), word) for word in words}
        first = self._equations(reader, layers, c.keep, held)
        for example in data["concept"]:
            first.move(*around(handle, example), 1.0)
        multiply(layers, first.matrix())
        changes = [self._train(handle, layers, word, masks[word], run) for word in words]
        own = [[e.prompt for e in data["concept"] if e.tags.get("phrase") == word] for word in words]
        rows = [reader.encoded([text for text in texts if text]).flatten(0, 1) for texts in own]
        fuse(layers, self._equations(reader, layers, c.fuse_keep, held), changes, rows)

    def _equations(
        self, reader: TextRows, layers: Mapping[str, nn.Linear], keep: float, held: Sequence[str]
    ) -> Equations:
        weight = next(iter(layers.values())).weight
        equations = Equations(weight.shape[1], keep, weight.device)
        if self.config.preserve_scale:
            for some in reader.held(held, "aligned"):
                equations.hold(some, self.config.preserve_scale)
        return equations

    def _seen(self, forget: Split, word: str) -> list[Example]:
        named = [e for e in forget if e.image is not None and mentions(str(e.prompt), word)]
        if not named:
            raise UserError(f"mace: split 'forget' has no picture whose caption names {word!r}.")
        return named[: self.config.pictures]

    def _masks(self, handle: DiffusionHandle, seen: Sequence[Example], word: str) -> list[tuple[Example, Tensor]]:
        """Each picture with its object's mask (height, width) over latent cells."""
        if self.config.masks is not None:
            shape = handle.latent_shape()[1:]
            return [(e, stored_mask(Path(self.config.masks), e, shape)) for e in seen]
        return list(zip(seen, own_masks(handle, seen, word, self.config.mask_share), strict=True))

    def _train(
        self, handle: DiffusionHandle, layers: Mapping[str, nn.Linear], word: str, seen: list, run
    ) -> dict[str, Tensor]:
        """The change of each layer that lowers the attention of `word`."""
        c = self.config
        flags = {name: p.requires_grad for name, p in handle.module.named_parameters()}
        handle.module.requires_grad_(False)
        adapters = attach(layers, c.rank, derive(run.seed, "init", "mace", word))
        try:
            optimiser = torch.optim.Adam([p for a in adapters.values() for p in a.parameters()], lr=c.lr)
            for index in range(c.iterations):
                draw = generator(run.seed, "sample", "mace", word, index)
                part = [seen[int(i)] for i in draw.permutation(len(seen))[: c.batch_size]]
                optimiser.zero_grad()
                attended(handle, part, word, draw).backward()
                optimiser.step()
            return {name: adapter.change().detach() for name, adapter in adapters.items()}
        finally:
            detach(layers)
            for name, parameter in handle.module.named_parameters():
                parameter.requires_grad_(flags[name])


def around(handle: DiffusionHandle, example: Example) -> tuple[Float[Tensor, "row width"], Float[Tensor, "row width"]]:
    """Rows of a prompt and of its surrogate without those of the phrase and of the surrogate's, equally many."""
    texts = [str(example.prompt), str(example.target)]
    words = [example.tags["phrase"], example.tags.get("surrogate", "")]
    kept = []
    for text, word, states in zip(texts, words, handle.encode(texts).states, strict=True):
        span = handle.tokenise([text]).subject_span(word)[0] if word else slice(0, 0)
        kept.append(torch.cat([states[: span.start], states[span.stop :]]))
    n = min(len(part) for part in kept)
    return kept[0][:n], kept[1][:n]


def importance() -> Float[np.ndarray, " time"]:
    """Probability of each of the times 0..999."""
    t = np.arange(1000)
    weight = 1 / (1 + np.exp(-0.05 * (t - 200))) - 1 / (1 + np.exp(-0.05 * (t - 400)))
    return weight / weight.sum()


def attended(handle: DiffusionHandle, part: Sequence[tuple[Example, Tensor]], word: str, draw: Any) -> Tensor:
    """Mean over examples of the sum over layers of the 2-norm of the word's attention inside the mask."""
    examples = [example for example, _ in part]
    batch = handle.collate(examples).to(handle.device)
    order = _order(batch.ids, examples)  # a batch's rows may come in another order
    t = torch.from_numpy(draw.choice(1000, len(part), p=importance()))[order].to(handle.device)
    noise = torch.from_numpy(draw.standard_normal((len(part), *handle.latent_shape()), dtype=np.float32))[order]
    clean = handle.clean(batch)
    latents = handle.noised(clean, noise.to(clean), t)
    layers = handle.cross_attention()
    with handle.recorded_attention(layers) as records:
        handle.predict(latents, t, handle.condition(batch))
    spans = handle.tokenise([str(examples[i].prompt) for i in order]).subject_span(word)
    return norms(records, layers, spans, [part[i][1] for i in order]) / len(part)


def _order(ids: Sequence[str], examples: Sequence[Example]) -> list[int]:
    """Which example each row of a batch is."""
    places = {example.id: i for i, example in enumerate(examples)}
    return [places[name] for name in ids]


def norms(
    records: Mapping[str, Tensor], layers: Sequence[CrossAttention], spans: Sequence[slice], masks: Sequence[Tensor]
) -> Float[Tensor, ""]:
    """Sum over examples and layers of ‖attention[:, cells of the mask, phrase's tokens]‖₂, over all heads."""
    total = torch.zeros(())
    for layer in layers:
        maps = records[layer.name]
        for row, (span, mask) in enumerate(zip(spans, masks, strict=True)):
            inside = resized(mask, maps.shape[2]).to(maps).flatten()
            total = total + (maps[row, :, :, span] * inside[None, :, None]).flatten().norm()
    return total


def resized(mask: Float[Tensor, "height width"], cells: int) -> Float[Tensor, "rows columns"]:
    """The mask at a resolution of so many cells (nearest)."""
    height = round((cells * mask.shape[0] / mask.shape[1]) ** 0.5)
    return functional.interpolate(mask[None, None].float(), (height, cells // height))[0, 0]


@torch.no_grad()
def own_masks(
    handle: DiffusionHandle, seen: Sequence[Example], word: str, share: float
) -> list[Float[Tensor, "height width"]]:
    """Where the model attends to the word: mean over layers and heads, cut at `share` of its range."""
    batch = handle.collate(seen).to(handle.device)
    t = torch.full((len(seen),), MASK_TIME, device=handle.device)
    clean, layers = handle.clean(batch), handle.cross_attention()
    latents = handle.noised(clean, batch.tensors["noise"], t)
    with handle.recorded_attention(layers) as records:
        handle.predict(latents, t, handle.condition(batch))
    height, width = clean.shape[-2:]
    masks: dict[str, Tensor] = {}
    for row, place in enumerate(_order(batch.ids, seen)):
        example = seen[place]
        span = handle.tokenise([str(example.prompt)]).subject_span(word)[0]
        maps = []
        for layer in layers:
            own = records[layer.name][row, :, :, span].mean((0, 2))
            tall = round((len(own) * height / width) ** 0.5)
            grid = own.view(1, 1, tall, len(own) // tall).float()
            maps.append(functional.interpolate(grid, (height, width), mode="bilinear")[0, 0])
        mean = torch.stack(maps).mean(0)
        masks[example.id] = (mean >= mean.min() + share * (mean.max() - mean.min())).float()
    return [masks[example.id] for example in seen]


def stored_mask(folder: Path, example: Example, shape: tuple[int, ...]) -> Float[Tensor, "height width"]:
    """A mask file over latent cells. Raises UserError where it is missing."""
    from mmunlearn.data import ImageRef

    file = folder / (example.id.replace("/", "_") + ".png")
    if not file.is_file():
        raise UserError(f"{file}: no mask for {example.id}. Add it, or leave method[mace].masks out.")
    grey = picture(ImageRef(path=file), shape[0]).float().mean(0)
    return (grey > 127.5).float()


@torch.no_grad()
def fuse(
    layers: Mapping[str, nn.Linear],
    equations: Equations,
    changes: Sequence[Mapping[str, Tensor]],
    rows: Sequence[Float[Tensor, "row width"]],
) -> None:
    """W becomes the map closest to (W + change_k) on the rows of every concept k, to W on what `equations` hold."""
    grams = [part.double().mT @ part.double() for part in rows]
    for part in rows:
        equations.hold(part, 1.0)
    for name, layer in layers.items():
        numerator = layer.weight.double() @ equations.targets
        for change, gram in zip(changes, grams, strict=True):
            numerator += change[name].double() @ gram
        layer.weight.copy_(equations.divide(numerator))
