"""Settings of a vision-language model: which weights, which template, what is trained."""

from typing import Any, Literal

from pydantic import Field

from mmunlearn.settings import Settings

Part = Literal["full", "frozen"]


class Lora(Settings):
    """Low-rank adapters (Hu et al. 2022) on linear layers of the language model.

    targets: names of layers (last part), or one regular expression over whole names; empty: the family's linear
    layers of the language model. full: parts trained whole beside the adapters.
    """

    r: int = Field(16, ge=1)
    alpha: float = 32.0
    dropout: float = Field(0.0, ge=0, lt=1)
    targets: tuple[str, ...] | str = ()
    full: tuple[Literal["projector"], ...] = ("projector",)


class VlmSettings(Settings):
    """An image-text-to-text model.

    name: a folder, a hub id, or "scratch/<family>" for newly initialised weights of `architecture` (laid over the
    family's small default). template: "auto" (the processor's chat template) or a named one of prompts.py. labels: how
    questions and answers become tokens; the reference presets copy what a benchmark's code did. end: the token after an
    answer where the template does not say it. tower, projector, language: what is trained. features: keep a frozen
    tower's outputs, once an image. max_length: tokens; a longer example is an error. pretrained_tower:
    scratch/llava starts from the tower of mini_tower.py, which can see already, as that of published models.
    """

    name: str = "scratch/llava"
    architecture: dict[str, Any] = Field(default_factory=dict)
    revision: str | None = None
    template: str = "auto"
    labels: Literal["clean", "fiubench", "safeeraser", "offside"] = "clean"
    system: str | None = None
    max_length: int = Field(2048, ge=8)
    pretrained_tower: bool = False
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    tower: Part = "frozen"
    projector: Part = "full"
    language: Part = "full"
    lora: Lora | None = None
    features: bool = True
    trust_remote_code: bool = False
