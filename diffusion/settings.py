"""Settings of a text-to-image model and of the sampler."""

from typing import Any, Literal

from pydantic import Field

from mmunlearn.settings import Settings

SolverName = Literal["ddim", "lms", "pndm", "euler", "flow"]


class SamplerSettings(Settings):
    """How pictures are sampled; the default is the uniform way of this package, DDIM with eta 0.

    scale: of classifier-free guidance, uncond + scale * (cond - uncond); 1 asks the model once a step. latents: initial
    noise keyed by (seed, index or prompt), or by the seed alone ("shared": one noise a seed for all prompts). negative:
    prompt of the unconditional half. size_px: None is the model's own. quality: of the JPEG files. precision: numbers
    of the denoiser while sampling. prompt: "spoken" as benchmarks ask it, or "file" as Forget-Me-Not's script asks it
    (underscores stay, no final period).
    """

    steps: int = Field(100, ge=1, le=1000)
    scale: float = 9.0
    scheduler: SolverName = "ddim"
    latents: Literal["per_image", "shared"] = "per_image"
    negative: str = ""
    batch_size: int = Field(32, ge=1)
    size_px: int | None = Field(None, ge=8)
    quality: int = Field(95, ge=1, le=100)
    precision: Literal["model", "float16", "bfloat16"] = "model"
    prompt: Literal["spoken", "file"] = "spoken"


class Augmentation(Settings):
    """Random changes of training views. flip: mirrored left to right in half of the views. drop_prompt_frac: how often
    the prompt is replaced by the empty one, which teaches the unconditional half of guidance (Ho and Salimans 2022)."""

    flip: bool = False
    drop_prompt_frac: float = Field(0.0, ge=0, lt=1)


class DiffusionSettings(Settings):
    """A text-to-image model.

    name: a folder or hub id in diffusers form, or "scratch/<family>" (sd, sdxl, sd3, flux) for newly initialised
    weights of `architecture` (laid over the family's small default). trains: which part a method trains unless it asks
    for another; the VAE never. vae: "unshuffle" puts pixels themselves into the latents (2 x 2 pixels, 12 channels, no
    weights) in scratch models. size_px: side of the square pictures. text_length: tokens of the T5 encoder (None: the
    family's). sampler: laid over the sampler's defaults whenever this model samples.
    """

    name: str = "scratch/sd"
    revision: str | None = None
    architecture: dict[str, Any] = Field(default_factory=dict)
    size_px: int = Field(512, ge=8)
    trains: Literal["denoiser", "text_encoder", "all"] = "denoiser"
    vae: Literal["learned", "unshuffle"] = "learned"
    augmentation: Augmentation = Augmentation()
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    text_length: int | None = Field(None, ge=2)
    sampler: dict[str, Any] = Field(default_factory=dict)
