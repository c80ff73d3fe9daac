"""Receler: erasers behind cross-attention, trained against adversarial prompts and kept off the rest of the picture."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from mmunlearn.data import Split
from mmunlearn.errors import UserError
from mmunlearn.handle import Batch
from mmunlearn.methods.base import GradientMethod, Optimiser, Phase, Step, Term

from ..conditioning import Condition
from ..handle import DiffusionHandle
from ._base_weights import without_graph
from ._draws import draws_of, normal
from ._erasers import ErasersGuard, concept_masks, erasing, new_erasers, restored
from ._partial_sampling import partial_samples, random_stops
from ._prompts import phrase_of, worded
from ._words_at import end_of, words_at


class Receler(GradientMethod):
    """Train erasers E to ‖ε_E(x_t, ĉ) − (ε(x_t, ∅) − η(ε(x_t, c) − ε(x_t, ∅)))‖² + w·R, the model itself unchanged.

    ĉ: the encoded prompt whose rows behind it hold `soft_tokens` free vectors, found by `attack_steps` Adam steps on
    ‖ε_E(x_t, ĉ) − ε(x_t, c)‖². R: mean square of an eraser's output over cells outside the concept's mask, averaged
    over layers; the mask is where attention to the concept's words, scaled to 0..1, reaches `mask_limit`. x_t:
    trajectories under guidance 3 with the erasers on. The result is a guard: the sampler runs the erasers, the weights
    are those of the original. Sources: Huang et al. 2024 (arXiv 2311.17717); diffusion sheet 4.12 (jasper0314-huang/
    Receler: rank 128, 500 steps, Adam 3e-4, 50 attack steps of rate 0.1 and decay 0.1 on 16 vectors, w 0.1, limit 0.1
    on maps of 16 x 16 cells). Differs from the paper: free vectors start anew at every visit of a prompt, so that no
    step depends on which examples share a batch; the repository keeps one set and its Adam state. Differs from the
    repository: x_t and t belong together; its unused setting for when the attack begins is not copied.
    """

    needs = frozenset({"concept"})
    paper = "Huang et al. 2024 (Receler)"
    intent = "suppression"

    toy = {
        "rank": 4, "steps": 5, "batch_size": 2, "attack_steps": 2, "soft_tokens": 2, "walk_steps": 4,
        "optimiser": {"name": "sgd", "lr": 5.0},
    }  # fmt: skip

    class Config(GradientMethod.Config):
        """rank: of an eraser. mask_side: cells a row of the attention maps that make the mask."""

        rank: int = Field(128, ge=1)
        eta: float = 1.0
        regularisation: float = 0.1
        mask_limit: float = 0.1
        mask_side: int = 16
        attack_steps: int = Field(50, ge=0)
        attack_lr: float = 0.1
        attack_decay: float = 0.1
        soft_tokens: int = Field(16, ge=1)
        walk_steps: int = Field(50, ge=1)
        guidance: float = 3.0
        wording: str = "{prompt}"
        optimiser: Optimiser = Optimiser(name="adam", lr=3e-4)
        steps: int = Field(500, ge=1)
        batch_size: int = 1

    def prepare(self, handle: DiffusionHandle, data: Mapping[str, Split], run) -> None:  # type: ignore[override]
        """Erasers beside the model's parts, so that the engine trains and stores them."""
        if handle.guard is not None:
            raise UserError(f"method[receler]: this model has a guard already ({handle.guard.method}).")
        self._split = worded(data["concept"], self.config.wording)
        self._phrase = phrase_of(data["concept"])
        self._texts = {example.id: example.prompt or "" for example in self._split}
        words_at(handle, list(self._texts.values()), self._phrase)
        handle.module["erasers"] = new_erasers(handle, self.config.rank, run.seed)

    def finish(self, handle, data: Mapping[str, Split], run):
        """The erasers become the handle's guard."""
        handle.guard = ErasersGuard(handle.module.pop("erasers"))
        return handle

    def phases(self, handle, data: Mapping[str, Split], run) -> Sequence[Phase]:
        """One phase over the concept's prompts."""
        names = frozenset(name for name, _ in handle.module.named_parameters() if name.startswith("erasers."))
        stream = self.stream(self._split, augment=True)
        return [
            self.simple_phase(self._terms, {"concept": stream}, "concept", steps=self.config.steps, trainable=names)
        ]

    def _terms(self, handle: DiffusionHandle, batches: Mapping[str, Batch], step: Step) -> dict[str, Term]:
        batch, c = batches["concept"], self.config
        erasers: Any = handle.module["erasers"]
        draws = draws_of(batch, step.seed, self.name())
        at = random_stops(draws, c.walk_steps, 1)
        noise = normal(draws, handle.latent_shape()).to(handle.device)
        named, empty = handle.condition(batch), handle.unconditional([""] * len(batch))
        with without_graph(handle):
            with erasing(handle, erasers):
                found, times = partial_samples(
                    handle, noise, at, (named, empty), steps=c.walk_steps, scale=c.guidance
                )
            x, t = found[:, 0], times[:, 0]
            plain = handle.predict(x, t, empty)
            with handle.recorded_attention() as maps:
                shown = handle.predict(x, t, named)
        texts = [self._texts[name] for name in batch.ids]
        masks = concept_masks(
            maps, words_at(handle, texts, self._phrase), side=c.mask_side, limit=c.mask_limit,
            height=x.shape[-2], width=x.shape[-1],
        )  # fmt: skip
        asked = named
        if c.attack_steps:
            first = end_of(handle, texts)
            start = torch.stack([torch.from_numpy(d.random((c.soft_tokens, named.states.shape[2]))) for d in draws])
            with erasing(handle, erasers):
                free = self._attack(handle, (x, t, shown), (named, first), start.to(named.states))
            asked = with_soft(named, first, free)
        outputs: dict[str, Tensor] = {}
        with erasing(handle, erasers, outputs):
            made = handle.predict(x, t, asked)
        aim = plain - c.eta * (shown - plain)
        terms = {"erase": Term((made.float() - aim.float()).square().sum(), "concept")}
        if c.regularisation:
            kept = {key: masks[key.replace("/", ".")] for key in outputs}
            terms["outside"] = Term(outside(outputs, kept).sum(), "concept.examples", c.regularisation)
        return terms

    def _attack(
        self,
        handle: DiffusionHandle,
        aim: tuple[Tensor, Tensor, Tensor],
        prompt: tuple[Condition, list[int]],
        start: Tensor,
    ) -> Float[Tensor, "batch soft width"]:
        """Free vectors that make the erased model predict what the original does."""
        x, t, shown = aim
        with torch.enable_grad():
            free = start.detach().clone().requires_grad_(True)
            optimiser = torch.optim.Adam([free], lr=self.config.attack_lr, weight_decay=self.config.attack_decay)
            for _ in range(self.config.attack_steps):
                made = handle.predict(x, t, with_soft(*prompt, free))
                loss = (made.float() - shown.float()).square().flatten(1).mean(1).sum()
                (free.grad,) = torch.autograd.grad(loss, free)
                optimiser.step()
        return free.detach()


def with_soft(condition: Condition, first: Sequence[int], free: Float[Tensor, "batch soft width"]) -> Condition:
    """A condition whose rows from position `first` on are the free vectors, as many as there is room for."""
    rows = []
    for states, place, vectors in zip(condition.states, first, free, strict=True):
        n = min(len(vectors), len(states) - place)
        rows.append(torch.cat([states[:place], vectors[:n].to(states), states[place + n :]]))
    return Condition(torch.stack(rows), condition.pooled)


def outside(outputs: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> Float[Tensor, " batch"]:
    """Mean over layers of the mean square of erasers' outputs over cells outside the masks, a picture."""
    each = []
    for key, out in outputs.items():
        free = (~masks[key]).float()
        each.append((out.float().square().mean(-1) * free).sum(1) / (free.sum(1) + 1e-9))
    return torch.stack(each).mean(0)


def restore(facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> ErasersGuard:
    """The guard from what was stored."""
    return restored(facts, tensors)
