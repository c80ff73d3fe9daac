"""ESD: predict at the concept's prompt what the original predicts when it is guided away from the concept."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from mmunlearn.data import Split
from mmunlearn.handle import Batch
from mmunlearn.methods.base import GradientMethod, Optimiser, Phase, Step, Term
from mmunlearn.settings import merge

from ..handle import DiffusionHandle
from ._base_weights import BaseWeights, without_graph
from ._draws import draws_of, normal
from ._partial_sampling import partial_samples, random_stops
from ._prompts import worded
from ._trained import trained_names

Trains = Literal["x", "u", "x-strict", "all", "xattn", "noxattn", "selfattn", "full"]

# trains -> role, linear and convolution layers only, left out.
TRAINED: Mapping[str, tuple[str, bool, tuple[str, ...]]] = {
    "x": ("xattn", True, ()), "u": ("noxattn", True, ()), "x-strict": ("xattn_kv", True, ()),
    "all": ("denoiser", True, ()), "xattn": ("xattn", False, ()), "selfattn": ("selfattn", False, ()),
    "full": ("denoiser", False, ()),
    "noxattn": ("noxattn", False, ("denoiser.conv_out.*", "denoiser.conv_norm_out.*", "denoiser.time_embedding.*")),
}  # fmt: skip

RECIPES: Mapping[str, Mapping[str, Any]] = {
    "paper": {},
    "script": {
        "start": "concept", "eta": 2.0, "trajectory": "original", "steps": 200,
        "optimiser": {"name": "adam", "lr": 5e-5},
    },
}  # fmt: skip


class Esd(GradientMethod):
    """Minimise ‖ε_θ(x_t, c) − y‖², y = ε*(x_t, s) − η(ε*(x_t, c) − ε*(x_t, ∅)), ε* the original.

    c: the concept's prompt; s: `start`, the empty prompt in the paper (equation 7), c itself in the later script (so
    that its η is larger by one), or the surrogate's prompt ("erase from"), which then is also what the model is trained
    on and sampled with. x_t: a trajectory from noise under guidance `guidance`, stopped at a random step, made by the
    model being trained (variant "paper") or by the original ("script"). Works on noise, v and velocity alike: the
    weights of y sum to one. Needs no pictures; drives on the prompts of split `concept`.
    Sources: Gandikota et al. 2023 (arXiv 2303.07345); diffusion sheet 4.1 (rohitgandikota/erasing: 1,000 iterations,
    Adam 1e-5, batch 1, 50 steps; script: 200 iterations, Adam 5e-5). Differs from the paper: nothing; a trajectory
    may stop more than once (`stops`). Differs from the repository: x_t and t always belong together (the
    older code draws t near the stop), latents have the model's own size (the script samples 1024 px), batches are
    allowed, and trained weights keep the precision they have (a bfloat16 model should be trained as float32 with
    train.precision=bf16, since small Adam steps vanish in bfloat16).
    """

    needs = frozenset({"concept"})
    paper = "Gandikota et al. 2023 (ESD)"

    toy = {
        "batch_size": 2, "steps": 5, "walk_steps": 4, "stops": 2, "optimiser": {"name": "sgd", "lr": 0.5},
    }  # fmt: skip

    class Config(GradientMethod.Config):
        """variant: gives its defaults to whatever is not set. trains: x (cross-attention), u (the rest), x-strict (its
        keys and values), all, each linear and convolution layers only; or the older names xattn, noxattn, selfattn,
        full. wording: of the prompts, from "{prompt}" and tags ("{phrase} Style" as UnlearnCanvas's script asks).
        walk_steps: of a whole trajectory; guidance: on it. stops: times taken from each trajectory."""

        variant: Literal["paper", "script"] = "paper"
        trains: Trains = "x"
        start: Literal["empty", "concept", "surrogate"] = "empty"
        eta: float = 1.0
        trajectory: Literal["trained", "original"] = "trained"
        wording: str = "{prompt}"
        optimiser: Optimiser = Optimiser(name="adam", lr=1e-5)
        steps: int = Field(1000, ge=1)
        batch_size: int = 1
        walk_steps: int = Field(50, ge=1)
        guidance: float = 3.0
        stops: int = Field(1, ge=1)

    @classmethod
    def defaults(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the variant that `given` names."""
        return merge(super().defaults(given), RECIPES.get(str(given.get("variant", "paper")), {}))

    def prepare(self, handle: DiffusionHandle, data: Mapping[str, Split], run) -> None:  # type: ignore[override]
        """Copies of what will be trained."""
        role, layers, without = TRAINED[self.config.trains]
        self._names = trained_names(handle, role, layers=layers, without=without)
        self._base = BaseWeights(handle, self._names)

    def phases(self, handle, data: Mapping[str, Split], run) -> Sequence[Phase]:
        """One phase over the concept's prompts."""
        stream = self.stream(worded(data["concept"], self.config.wording), augment=True)
        return [
            self.simple_phase(
                self._terms, {"concept": stream}, "concept", steps=self.config.steps, trainable=self._names
            )
        ]

    def _terms(self, handle: DiffusionHandle, batches: Mapping[str, Batch], step: Step) -> dict[str, Term]:
        batch, c = batches["concept"], self.config
        stops = min(c.stops, c.walk_steps)
        draws = draws_of(batch, step.seed, "esd")
        at = random_stops(draws, c.walk_steps, stops)
        noise = normal(draws, handle.latent_shape()).to(handle.device)
        concept = handle.condition(batch)
        empty = handle.unconditional([""] * len(batch))
        asked = handle.condition(batch, "target_") if c.start == "surrogate" else concept
        inside = self._base.inside if c.trajectory == "original" else without_graph
        with inside(handle):
            x, t = partial_samples(handle, noise, at, (asked, empty), steps=c.walk_steps, scale=c.guidance)
        x, t = x.flatten(0, 1), t.flatten()
        # A trajectory's rows stand beside each other.
        concept, empty, asked = (part.index(_repeated(len(batch), stops)) for part in (concept, empty, asked))
        with self._base.inside(handle):
            start = {"empty": empty, "concept": concept, "surrogate": asked}[c.start]
            away = esd_target(handle, x, t, (concept, empty, start), c.eta)
        error = handle.predict(x, t, asked).float() - away.float()
        return {"esd": Term(error.square().sum(), "concept", 1 / stops)}


def esd_target(
    handle: DiffusionHandle, x: Tensor, t: Tensor, conditions: tuple, eta: float
) -> Float[Tensor, "batch channel height width"]:
    """y = start − eta·(concept − empty) under the handle's weights, of (concept, empty, start), in one pass."""
    concept, empty, start = conditions
    rows = [concept, empty] + ([] if start is concept or start is empty else [start])
    n = len(rows)
    made = handle.predict(x.repeat(n, 1, 1, 1), t.repeat(n), rows[0].cat(*rows[1:])).chunk(n)
    of_start = made[0] if start is concept else made[1] if start is empty else made[2]
    return of_start - eta * (made[0] - made[1])


def _repeated(rows: int, times: int) -> list[int]:
    return [row for row in range(rows) for _ in range(times)]
