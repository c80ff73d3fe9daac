"""MANU: zero the neurons whose activity is largest on the forget set relative to the retain set; no training."""

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from mmunlearn.data import Example, Split
from mmunlearn.errors import UserError
from mmunlearn.handle import Handle
from mmunlearn.methods.base import EditMethod, Need
from mmunlearn.settings import Settings

from .. import adapters
from ..handle import VlmHandle

MEASURES = ("absolute", "frequency", "deviation", "rms")
EPSILON = 1e-5  # added to the retain set's measure
CLAMP = 1e3
ACTIVE = 0.1  # |activation| above which a neuron counts as active


class MeasureWeights(Settings):
    """Coefficients of mean |a|, of the share of |a| > 0.1, of the standard deviation and of the root mean square."""

    absolute: float = Field(2.0, ge=0)
    frequency: float = Field(0.0, ge=0)
    deviation: float = Field(2.0, ge=0)
    rms: float = Field(2.0, ge=0)


class Manu(EditMethod):
    """Zero the weights and bias of the `fraction` of MLP neurons with the highest `Σ_m w_m (I_forget,m / (I_retain,m +
    1e-5) − 1)`.

    I_m are four measures of a neuron's output over tokens and examples (MeasureWeights; |a| cut at 1e3). Neurons of
    the vision tower (fc1, fc2) are measured on pictures, neurons of the language model (gate, up, down) on the same
    questions without their picture; each group has one threshold over all its layers. Source: vlm_fiu_mmu_safe 4.5
    (MANU repository at 7af5ffe; weights 2, 0, 2, 2; 2 % in its older script). Differs from the reference: every layer
    has its own statistics, where the reference mixes those of all layers under the keys of its last three and prunes
    only these (`last_layers: 3` chooses the same layers); measures cover all tokens together, where the reference
    takes standard deviation (of a sample) and root mean square over a batch's examples at each position and averages
    positions and batches; the whole retain set counts; padding does not count; exactly ⌊fraction · n⌋ neurons of a
    group are zeroed.
    """

    needs = frozenset({Need.FORGET, Need.RETAIN})
    paper = "MANU (ACL 2025)"
    stochastic = False
    touches = ("*.fc1.*", "*.fc2.*", "*.gate_proj.*", "*.up_proj.*", "*.down_proj.*")

    toy = {"fraction": 0.1}

    class Config(Settings):
        """fraction: of the neurons of each group, 0..1. groups: which parts are pruned. last_layers: only so many of
        the deepest blocks (None: all). rounds: the fraction is reached in so many prunings of equal size, measured anew
        each time."""

        fraction: float = Field(0.02, gt=0, lt=1)
        groups: tuple[str, ...] = ("tower", "language")
        last_layers: int | None = Field(None, ge=1)
        rounds: int = Field(1, ge=1)
        measures: MeasureWeights = MeasureWeights()
        batch_size: int = Field(32, ge=1)

    def edit(self, handle: Handle, data: Mapping[str, Split], run) -> None:
        """Measure, rank, zero; once a round and group."""
        assert isinstance(handle, VlmHandle)
        if adapters.is_adapted(handle.module):
            raise UserError("manu prunes the weights themselves. Remove model.lora.")
        unknown = [name for name in self.config.groups if name not in PARTS]
        if unknown or not self.config.groups:
            raise UserError(f"method[manu].groups: {unknown or 'none'} is not offered. Choose: {', '.join(PARTS)}.")
        gone: dict[str, Tensor] = {}
        for number in range(1, self.config.rounds + 1):
            for group in self.config.groups:
                layers = neurons(handle, group, self.config.last_layers)
                score = self._scores(handle, group, layers, data)
                for name, layer in layers.items():
                    gone.setdefault(name, torch.zeros(layer.out_features, dtype=torch.bool, device=layer.weight.device))
                already = {name: gone[name] for name in layers}
                share = self.config.fraction * number / self.config.rounds
                for name, chosen in highest(score, already, share).items():
                    gone[name] = chosen
                    zero(layers[name], chosen)

    def _scores(
        self, handle: VlmHandle, group: str, layers: Mapping[str, nn.Linear], data: Mapping[str, Split]
    ) -> dict[str, Tensor]:
        size, weights = self.config.batch_size, self.config.measures
        forget = measure(handle, group, layers, data["forget"], size)
        retain = measure(handle, group, layers, data["retain"], size)
        return {name: relative(forget[name], retain[name], weights) for name in layers}


PARTS = {"tower": ("fc1", "fc2"), "language": ("gate_proj", "up_proj", "down_proj")}


class Totals(NamedTuple):
    """Sums over tokens of a layer's outputs, and how many tokens: what the four measures are made of."""

    absolute: Float[Tensor, " neuron"]
    active: Float[Tensor, " neuron"]
    plain: Float[Tensor, " neuron"]
    squared: Float[Tensor, " neuron"]
    tokens: int

    def measures(self) -> dict[str, Tensor]:
        """Mean |a|, share of active tokens, standard deviation (of the population) and root mean square."""
        n = max(self.tokens, 1)
        mean, square = self.plain / n, self.squared / n
        return {
            "absolute": self.absolute / n,
            "frequency": self.active / n,
            "deviation": (square - mean**2).clamp_min(0).sqrt(),
            "rms": square.sqrt(),
        }


def totals(output: Float[Tensor, "token neuron"]) -> Totals:
    """The sums of one batch, in double precision; outputs are cut at ±1e3."""
    a = output.detach().double().clamp(-CLAMP, CLAMP)
    return Totals(a.abs().sum(0), (a.abs() > ACTIVE).double().sum(0), a.sum(0), (a**2).sum(0), len(a))


def relative(forget: Totals, retain: Totals, weights: MeasureWeights) -> Float[Tensor, " neuron"]:
    """`Σ_m w_m (I_forget,m / (I_retain,m + 1e-5) − 1)` of each neuron."""
    f, r = forget.measures(), retain.measures()
    parts = [getattr(weights, name) * (f[name] / (r[name] + EPSILON) - 1) for name in MEASURES]
    return torch.stack(parts).sum(0)


def highest(scores: Mapping[str, Tensor], taken: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Boolean masks of ⌊share · n⌋ neurons over all layers together: those taken already, then the highest scores (ties
    go to the first)."""
    flat = torch.cat([score.where(~taken[name], score.new_tensor(torch.inf)) for name, score in scores.items()])
    order = torch.sort(flat, descending=True, stable=True).indices
    chosen = torch.zeros_like(flat, dtype=torch.bool)
    chosen[order[: int(share * len(flat))]] = True
    parts = chosen.split([len(score) for score in scores.values()])
    return dict(zip(scores, parts, strict=True))


@torch.no_grad()
def zero(layer: nn.Linear, chosen: Tensor) -> None:
    """Rows of weight and bias of the chosen neurons become zero."""
    layer.weight[chosen] = 0.0
    if layer.bias is not None:
        layer.bias[chosen] = 0.0


def neurons(handle: VlmHandle, group: str, last_layers: int | None) -> dict[str, nn.Linear]:
    """MLP linears of the tower or the language model by path. Raises UserError where the model has none so named."""
    part = getattr(handle.family, group)(handle.model)
    found = {
        path: layer
        for path, layer in part.named_modules()
        if isinstance(layer, nn.Linear) and path.rpartition(".")[2] in PARTS[group]
    }
    if not found:
        raise UserError(f"manu: the model's {group} has no layers called {', '.join(PARTS[group])}. Leave it out.")
    if last_layers is not None:
        blocks = sorted({_block(path) for path in found})[-last_layers:]
        found = {path: layer for path, layer in found.items() if _block(path) in blocks}
    return found


def _block(path: str) -> int:
    """Number of the block in a path such as "layers.21.mlp.fc1"."""
    return next((int(word) for word in path.split(".") if word.isdigit()), 0)


@torch.no_grad()
def measure(
    handle: VlmHandle, group: str, layers: Mapping[str, nn.Linear], split: Split, batch_size: int
) -> dict[str, Totals]:
    """Totals of every layer over the split's pictures (tower) or its questions and answers without them (language)."""
    sums: dict[str, Totals] = {}
    mask: list[Tensor] = []  # real tokens of the batch under way

    def hook(name: str):
        def take(layer: nn.Module, inputs: object, output: Tensor) -> None:
            flat = output.reshape(-1, output.shape[-1])
            new: Any = totals(flat[mask[-1].reshape(-1)] if mask else flat)
            old = sums.get(name)
            sums[name] = new if old is None else Totals(*(a + b for a, b in zip(old, new, strict=True)))

        return take

    with _hooks((layer, hook(name)) for name, layer in layers.items()):
        if group == "tower":
            _see(handle, split, batch_size)
        else:
            for batch in _texts(handle, split, batch_size):
                mask[:] = [batch.tensors["attention_mask"].bool()]
                handle.hidden(batch)
    if len(sums) < len(layers):
        raise UserError(f"manu: split {split.name!r} has nothing that the model's {group} looks at.")
    return sums


def _see(handle: VlmHandle, split: Split, batch_size: int) -> None:
    """Show the tower every picture of the split, as often as the split shows it."""
    plain = copy.copy(handle)
    plain.settings = handle.settings.model_copy(update={"features": False})  # kept features would leave the tower out
    seen = [example for example in split if example.image is not None]
    for start in range(0, len(seen), batch_size):
        plain.hidden(plain.collate(seen[start : start + batch_size]).to(handle.device))


def _texts(handle: VlmHandle, split: Split, batch_size: int) -> Iterator:
    bare: Sequence[Example] = [replace(e, id=f"{e.id}#text", image=None) for e in split]
    for start in range(0, len(bare), batch_size):
        yield handle.collate(bare[start : start + batch_size]).to(handle.device)


@contextmanager
def _hooks(pairs: Iterable[tuple[nn.Module, object]]) -> Iterator[None]:
    taken = [layer.register_forward_hook(hook) for layer, hook in pairs]  # type: ignore[arg-type]
    try:
        yield
    finally:
        for one in taken:
            one.remove()
