"""Arithmetic between clean latents, noise and time, and the solvers that walk from noise to picture.

Times run from 0 (clean) to 1000 (noise) in every family: discrete steps of a variance-preserving process, or a
thousandfold sigma of a rectified flow.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from mmunlearn.errors import UserError

STEPS = 1000
STRATA = 10  # times at which evaluation views are taken

Latents = Float[Tensor, "batch channel height width"]


class Schedule:
    """config: of the pipeline's scheduler in diffusers' words. flow: rectified flow instead of diffusion. even: a flow
    whose pipeline walks over sigmas 1 … 1/n instead of the scheduler's own (FLUX).

    A diffusion model predicts noise, v (Salimans and Ho 2022) or the clean latents; a flow noise minus clean
    (Liu et al. 2022).
    """

    def __init__(self, config: Mapping[str, Any], *, flow: bool, even: bool = False):
        from diffusers import DDIMScheduler

        self.config = {key: value for key, value in config.items() if not key.startswith("_")}
        self.flow, self.even = flow, even
        self.predicts = "velocity" if flow else self.config.get("prediction_type", "epsilon")
        if flow:
            return
        if self.predicts not in ("epsilon", "v_prediction", "sample"):
            raise UserError(
                f"scheduler: prediction_type {self.predicts!r} is unknown (epsilon, v_prediction or sample)."
            )
        # Squashed pixels would be clipped as if latents were pixels.
        self.reference = DDIMScheduler.from_config({**self.config, "clip_sample": False, "thresholding": False})
        self.alphas = self.reference.alphas_cumprod
        if len(self.alphas) != STEPS:
            raise UserError(f"scheduler num_train_timesteps is {len(self.alphas)}; models of {STEPS} steps are known.")

    def rates(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Factors of clean latents and of noise at times t (batch,), shaped to multiply `like`."""
        if self.flow:
            sigma = t.to(like.device, torch.float32) / STEPS
            signal, noise = 1 - sigma, sigma
        else:
            level = self.alphas.to(like.device)[t.to(like.device).long()]
            signal, noise = level.sqrt(), (1 - level).sqrt()
        shape = (-1, *[1] * (like.dim() - 1))
        return signal.view(shape).to(like.dtype), noise.view(shape).to(like.dtype)

    def noised(self, clean: Latents, noise: Latents, t: Tensor) -> Latents:
        """Latents at times t."""
        signal, sigma = self.rates(t, clean)
        return signal * clean + sigma * noise

    def target(self, clean: Latents, noise: Latents, t: Tensor) -> Latents:
        """What the model's prediction is compared with in training."""
        if self.flow:
            return noise - clean
        if self.predicts == "epsilon":
            return noise
        if self.predicts == "sample":
            return clean
        signal, sigma = self.rates(t, clean)
        return signal * noise - sigma * clean

    def to_noise(self, prediction: Latents, latents: Latents, t: Tensor) -> Latents:
        """The noise that a prediction at `latents` means."""
        if self.predicts == "epsilon":
            return prediction
        signal, sigma = self.rates(t, latents)
        if self.flow:
            return latents + signal * prediction
        if self.predicts == "sample":
            return (latents - signal * prediction) / sigma
        return signal * prediction + sigma * latents

    def to_clean(self, prediction: Latents, latents: Latents, t: Tensor) -> Latents:
        """The clean latents that a prediction at `latents` means."""
        if self.predicts == "sample":
            return prediction
        signal, sigma = self.rates(t, latents)
        if self.flow:
            return latents - sigma * prediction
        if self.predicts == "epsilon":
            return (latents - sigma * prediction) / signal
        return signal * latents - sigma * prediction

    def times(self, uniform: Float[Tensor, " batch"]) -> Tensor:
        """Training times of uniform draws in [0, 1): every step equally likely; flows logit-normal (Esser et al. 2024,
        section 3.1) under the schedule's shift."""
        if not self.flow:
            return (uniform.double() * STEPS).long().clamp(0, STEPS - 1)
        sigma = torch.special.ndtri(uniform.double().clamp(1e-6, 1 - 1e-6)).sigmoid()
        shift = 1.0 if self.config.get("use_dynamic_shifting") else float(self.config.get("shift", 1.0))
        return (STEPS * shift * sigma / (1 + (shift - 1) * sigma)).float()

    def strata(self, uniform: Float[Tensor, " batch"]) -> Tensor:
        """Evaluation times of uniform draws: the middle of one of STRATA equal stretches."""
        middle = ((uniform.double() * STRATA).floor() + 0.5) / STRATA * STEPS
        return middle.float() if self.flow else middle.long()

    def solver(self, name: str, steps: int, tokens: int = 0) -> "Solver":
        """A solver for one batch of pictures. tokens: picture tokens of a transformer, for dynamic shifting.

        Raises UserError for a diffusion solver on a flow and the other way round.
        """
        if self.flow != (name == "flow"):
            raise UserError(
                f"sampler scheduler {name!r} does not fit this model. "
                f"Choose {'flow' if self.flow else 'ddim, lms, pndm or euler'}."
            )
        return Ddim(self, steps) if name == "ddim" else Borrowed(self, name, steps, tokens)


class Solver(Protocol):
    """Walks latents over `times` (a Tensor, from noise to picture)."""

    times: Tensor

    def start(self, noise: Latents) -> Latents:
        """Latents at the first time, from unit noise."""

    def seen(self, latents: Latents, step: int) -> Latents:
        """What the model is shown at that step."""

    def step(self, prediction: Latents, latents: Latents, step: int) -> Latents:
        """Latents at the next time."""


class Ddim:
    """DDIM with eta 0 (Song et al. 2021, equation 12); differentiable and without state."""

    def __init__(self, schedule: Schedule, steps: int):
        self.schedule = schedule
        schedule.reference.set_timesteps(steps)
        self.times = schedule.reference.timesteps.clone()
        before = self.times - STEPS // steps
        alphas = schedule.alphas[before.clamp(min=0)]
        self.next_alphas = torch.where(before >= 0, alphas, schedule.reference.final_alpha_cumprod)

    def start(self, noise: Latents) -> Latents:
        """Unit noise itself."""
        return noise

    def seen(self, latents: Latents, step: int) -> Latents:
        """The latents themselves."""
        return latents

    def step(self, prediction: Latents, latents: Latents, step: int) -> Latents:
        """Latents at the next time."""
        t = self.times[step].expand(len(latents))
        clean = self.schedule.to_clean(prediction, latents, t)
        noise = self.schedule.to_noise(prediction, latents, t)
        alpha = self.next_alphas[step].to(latents.device)
        return (alpha.sqrt() * clean + (1 - alpha).sqrt() * noise).to(latents.dtype)


_BORROWED = {
    "lms": "LMSDiscreteScheduler", "pndm": "PNDMScheduler", "euler": "EulerDiscreteScheduler",
    "flow": "FlowMatchEulerDiscreteScheduler",
}  # fmt: skip


class Borrowed:
    """A scheduler of diffusers under the solver's verbs; keeps state, so one serves one batch."""

    def __init__(self, schedule: Schedule, name: str, steps: int, tokens: int):
        import diffusers

        # Stable Diffusion's own PNDM leaves out the warm-up by Runge-Kutta steps.
        config = {"skip_prk_steps": True, **schedule.config} if name == "pndm" else schedule.config
        self.scheduler = getattr(diffusers, _BORROWED[name]).from_config(config)
        options: dict[str, Any] = {"num_inference_steps": steps}
        if name == "flow":
            options |= _flow_options(schedule, steps, tokens)
        self.scheduler.set_timesteps(**options)
        self.times = self.scheduler.timesteps

    def start(self, noise: Latents) -> Latents:
        """Unit noise at the scale that the scheduler starts from."""
        return noise * float(getattr(self.scheduler, "init_noise_sigma", 1.0))

    def seen(self, latents: Latents, step: int) -> Latents:
        """Latents scaled as the scheduler asks."""
        scale = getattr(self.scheduler, "scale_model_input", None)
        return latents if scale is None else scale(latents, self.times[step])

    def step(self, prediction: Latents, latents: Latents, step: int) -> Latents:
        """Latents at the next time."""
        return self.scheduler.step(prediction, self.times[step], latents, return_dict=False)[0]


def _flow_options(schedule: Schedule, steps: int, tokens: int) -> dict[str, Any]:
    """The sigmas to walk over, and a shift that grows with the picture where the scheduler says so (calculate_shift of
    diffusers' pipelines)."""
    config, options = schedule.config, {}
    if schedule.even:
        options["sigmas"] = torch.linspace(1, 1 / steps, steps, dtype=torch.float64).tolist()
    if not config.get("use_dynamic_shifting"):
        return options
    base, most = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    low, high = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
    return options | {"mu": low + (high - low) * (tokens - base) / (most - base)}
