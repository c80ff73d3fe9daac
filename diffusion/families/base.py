"""What differs between model families, behind one small interface."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..conditioning import Condition


class Family(ABC):
    """A model family: which parts its pipeline has, how prompts are encoded, how the denoiser is called.

    encoders: (text encoder, tokenizer) components in the pipeline's order. groups: name patterns of parameters a role,
    inside the handle's module. context: patterns of the linear maps whose input is the encoded prompt, which
    closed-form edits change. even_sigmas: see Schedule. joint: attention over picture and text together.
    """

    name: ClassVar[str]
    pipeline: ClassVar[str]
    denoiser: ClassVar[str] = "unet"
    encoders: ClassVar[tuple[tuple[str, str], ...]] = (("text_encoder", "tokenizer"),)
    flow: ClassVar[bool] = False
    even_sigmas: ClassVar[bool] = False
    groups: ClassVar[Mapping[str, tuple[str, ...]]]
    context: ClassVar[tuple[str, ...]]
    joint: ClassVar[bool] = False

    def text_length(self, index: int, tokenizer: Any, wanted: int | None) -> int:
        """Tokens to which prompts are padded for the encoder of that index."""
        return tokenizer.model_max_length

    @abstractmethod
    def encode(self, encoders: Sequence[nn.Module], ids: Sequence[Tensor]) -> Condition:
        """Token ids, one tensor an encoder, as a condition; differentiable."""

    @abstractmethod
    def predict(
        self, denoiser: nn.Module, latents: Tensor, t: Tensor, condition: Condition, *, factor: int, guidance: float
    ) -> Tensor:
        """The denoiser's raw output. factor: pixels a latent cell; guidance: of models that were distilled with it."""

    def distilled(self, denoiser: nn.Module) -> bool:
        """Whether guidance is an input of the denoiser instead of a second pass."""
        return False

    def picture_tokens(self, latents: Tensor) -> int:
        """Tokens of a picture in a transformer; 0 where nothing depends on it."""
        return 0

    def zero_empty(self, facts: Mapping[str, Any]) -> bool:
        """Whether the empty prompt counts as zeros; facts: the pipeline's own settings."""
        return False


def embedded(encoder: nn.Module, embeddings: Tensor | None) -> AbstractContextManager[Any]:
    """While open, the token-embedding look-up of `encoder` answers `embeddings` (batch, length, width)."""
    stack = ExitStack()
    if embeddings is not None:
        table = encoder.get_input_embeddings()  # type: ignore[operator]
        stack.callback(table.register_forward_hook(lambda *_: embeddings).remove)
    return stack


def clip_penultimate(encoder: nn.Module, ids: Tensor) -> tuple[Tensor, Tensor]:
    """States before the last layer, and the first output (projected text embedding, where there is one)."""
    made = encoder(ids, output_hidden_states=True)
    return made.hidden_states[-2], made[0]


def clip_text_core(encoder: Any) -> Any:
    """The layers of a CLIP text encoder: some classes and library versions wrap them in `text_model`."""
    return getattr(encoder, "text_model", encoder)


def as_type(value: Tensor, module: nn.Module) -> Tensor:
    """`value` in the number type of the module's weights."""
    return value.to(next(p.dtype for p in module.parameters() if p.is_floating_point()))


def expanded(t: Tensor, latents: Tensor) -> Tensor:
    """Times as (batch,) on the device of the latents."""
    return torch.as_tensor(t, device=latents.device).expand(len(latents))
