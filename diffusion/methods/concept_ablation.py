"""Concept ablation: the concept's prompt is to predict what an anchor's prompt predicts on the anchor's pictures."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from mmunlearn.data import Split
from mmunlearn.errors import UserError
from mmunlearn.handle import Batch
from mmunlearn.methods.base import GradientMethod, Optimiser, Phase, Step, Term
from mmunlearn.seeds import derive

from ..handle import DiffusionHandle
from ..sampler import Request, sample, sampler_settings
from ._base_weights import without_graph
from ._draws import draws_of, normal
from ._prompts import worded
from ._trained import Role, trained_names


class ConceptAblation(GradientMethod):
    """Minimise on noised anchor pictures x_t the distance of ε_θ(x_t, c) to an aim, c the concept's prompt.

    variant "model": aim sg ε_θ(x_t, c*), c* the anchor's prompt, under the current weights (equation 6); "noise": aim
    the noise in x_t (equation 7). Anchor pictures are sampled once by the original from the surrogate prompts of split
    `concept` (`pictures` of each), with the model's own sampler. `prior_weight`: of the ordinary denoising loss of the
    same pictures under c*. Trains keys and values of cross-attention.
    Sources: Kumari et al. 2023 (arXiv 2303.13516); diffusion sheet 4.3 (nupurkmr9/concept-ablation: 100 steps, batch 8
    over two devices, AdamW 2e-6 times their number; 1,000 pictures of 200 anchor prompts). Differs from the paper:
    nothing; the benchmark's own prompts stand for those that a language model wrote. Differs from the repository: the
    loss is the mean over latent values (`reference: true` weighs it four times, as dividing by a mask of one channel
    does; this matters beside `clip_norm` and `prior_weight` alone).
    """

    needs = frozenset({"concept"})
    paper = "Kumari et al. 2023 (concept ablation)"

    toy = {"pictures": 2, "steps": 5, "batch_size": 4, "optimiser": {"name": "sgd", "lr": 0.5}, "sampling_steps": 3}

    class Config(GradientMethod.Config):
        """steps: of the optimiser. wording: of both prompts. sampling_steps: None is the sampler's own."""

        variant: Literal["model", "noise"] = "model"
        trains: Role = "xattn_kv"
        wording: str = "{prompt}"
        pictures: int = Field(10, ge=1)
        prior_weight: float = 0.0
        optimiser: Optimiser = Optimiser(name="adamw", lr=4e-6, weight_decay=1e-2)
        steps: int = Field(100, ge=1)
        batch_size: int = 8
        sampling_steps: int | None = None
        reference: bool = False

    def prepare(self, handle: DiffusionHandle, data: Mapping[str, Split], run) -> None:  # type: ignore[override]
        """Sample the anchor's pictures: latents' moments by example."""
        c = self.config
        self._names = trained_names(handle, c.trains)
        concept = worded(data["concept"], c.wording)
        wrong = [example.id for example in concept if not isinstance(example.target, str)]
        if wrong:
            raise UserError(f"{wrong[0]}: concept_ablation needs an anchor's prompt, its target.")
        words: dict[str, Any] = {} if c.sampling_steps is None else {"steps": c.sampling_steps}
        how = sampler_settings(words, handle.settings.sampler)
        keys = [(example, k) for example in concept for k in range(c.pictures)]
        seed = derive(run.seed, "sample", self.name())
        # The index keeps the pictures of a prompt apart; its seed is one, so that all settings of latents work.
        requests = [Request(str(e.target), derive(seed, e.id, k), index=k) for e, k in keys]
        self._moments: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
        with without_graph(handle):
            made = list(sample(handle, requests, how))
            for start in range(0, len(made), how.batch_size):
                stretch = slice(start, start + how.batch_size)
                part = handle.encode_images(torch.stack([picture for _, picture in made[stretch]]))
                for row, (example, k) in enumerate(keys[stretch]):
                    self._moments[example.key, k] = (part.mean[row].float().cpu(), part.std[row].float().cpu())

    def phases(self, handle, data: Mapping[str, Split], run) -> Sequence[Phase]:
        """One phase over the concept's prompts; each visit takes one of its anchor pictures."""
        stream = self.stream(worded(data["concept"], self.config.wording), augment=True)
        return [
            self.simple_phase(
                self._terms, {"concept": stream}, "concept", steps=self.config.steps, trainable=self._names
            )
        ]

    def _terms(self, handle: DiffusionHandle, batches: Mapping[str, Batch], step: Step) -> dict[str, Term]:
        batch, c = batches["concept"], self.config
        draws = draws_of(batch, step.seed, self.name())
        chosen = [
            self._moments[key, int(draw.integers(c.pictures))]
            for key, draw in zip(batch.keys.tolist(), draws, strict=True)
        ]
        shape = chosen[0][0].shape
        mean, std = (torch.stack(part).to(handle.device) for part in zip(*chosen, strict=True))
        posterior, noise = (normal(draws, shape).to(handle.device) for _ in range(2))
        t = handle.schedule.times(torch.tensor([draw.random() for draw in draws])).to(handle.device)
        clean = mean + std * posterior
        x = handle.noised(clean, noise, t)
        anchor, true = handle.condition(batch, "target_"), handle.target(clean, noise, t)
        if c.variant == "noise":
            aim = true
        else:
            with without_graph(handle):
                aim = handle.predict(x, t, anchor)
        made = handle.predict(x, t, handle.condition(batch))
        weight = 4.0 if c.reference and c.variant == "model" else 1.0
        terms = {"ablate": Term((made.float() - aim.float()).square().sum(), "concept", weight)}
        if c.prior_weight:
            kept = handle.predict(x, t, anchor)
            terms["prior"] = Term((kept.float() - true.float()).square().sum(), "concept", c.prior_weight)
        return terms
