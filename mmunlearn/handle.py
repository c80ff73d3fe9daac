"""Handle: the only thing that core methods, attacks and evaluations see of a model.

A sibling implements it for its models (classifier, vision-language model, diffusion pipeline) and may add verbs of its
own, which only its own components use.
"""

import copy
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mmunlearn.data import Example
from mmunlearn.errors import UserError
from mmunlearn.settings import plain

Family = Literal["categorical", "bernoulli"]


@dataclass(frozen=True)
class View:
    """Asks `collate` for training views: augmentations are drawn from (seed, example id, epoch of that example)."""

    seed: int
    epochs: np.ndarray  # (batch,) epoch of each example in its stream


@dataclass
class Batch:
    """Collated examples: tensors by name, and how many items each example asks about, known before any forward."""

    ids: tuple[str, ...]
    tensors: dict[str, Tensor]
    count: Int[Tensor, " batch"]  # labels, answer tokens or latent values of each example
    view: View | None = None  # None: the evaluation view
    keys: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))  # Example.key of each example

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch with its tensors on `device`."""
        moved = {name: tensor.to(device, non_blocking=True) for name, tensor in self.tensors.items()}
        return replace(self, tensors=moved, count=self.count.to(device, non_blocking=True))


class Scored(NamedTuple):
    """What one forward pass says about a batch.

    nll: negative log-likelihood of the target in nats, summed over what the example asks (diffusion: squared error).
    count: how many labels, answer tokens or latent values that sum covers.
    logits: per item; `categorical` families hold one column a class or token, `bernoulli` one column per item (V = 1).
    """

    nll: Float[Tensor, " batch"]
    count: Int[Tensor, " batch"]  # type: ignore[assignment]  # hides tuple.count
    logits: Float[Tensor, "batch item vocab"] | None = None
    mask: Bool[Tensor, "batch item"] | None = None
    targets: Int[Tensor, "batch item"] | None = None
    family: Family = "categorical"

    def detached(self) -> "Scored":
        """The same record without a graph."""
        return Scored(*(value.detach() if isinstance(value, Tensor) else value for value in self))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Decoding:
    """How responses are made. Classifiers ignore the text fields; `fields` are kept verbatim for a sibling's use.

    folder: where a model that answers with pictures puts them (None: it cannot); it does not decide what they show.
    """

    batch_size: int = 256
    max_new_tokens: int = 64
    temperature: float = 0.0
    fields: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None


@dataclass(frozen=True)
class Response:
    """What the model answered for one example; `fields` are JSON-able (numbers, text, lists of numbers).

    A picture is a file in `Decoding.folder`, written atomically and used again when it is there already: `image` is its
    name and `image_hash` the hash of its content.
    """

    id: str
    fields: Mapping[str, Any]


class Handle(ABC):
    """A model with the verbs that every modality offers; see the module docstring."""

    modality: ClassVar[str]
    module: nn.Module  # what the engine trains and saves
    keep_logits: bool = True  # whether `score` gives logits; a handle of large vocabularies may leave them out if not
    settings: Any  # the sibling's Settings: architecture, input size, augmentation; what decides outputs beside weights

    @abstractmethod
    def collate(self, examples: Sequence[Example], view: View | None = None) -> Batch:
        """Examples as tensors on the CPU; `view` asks for training augmentations."""

    @abstractmethod
    def score(self, batch: Batch) -> Scored:
        """Differentiable score of the batch's targets; the batch lies on this handle's device."""

    @abstractmethod
    def respond(self, examples: Sequence[Example], how: Decoding, seed: int) -> list[Response]:
        """Responses in the order of `examples`; equal whatever the batch size (draws are keyed by seed and id)."""

    @abstractmethod
    def random_target(self, example: Example, generator: np.random.Generator, *, wrong_only: bool = False) -> Any:
        """A target of the right type drawn at random: a class, a label vector, a refusal. `wrong_only` excludes the
        example's own target."""

    @abstractmethod
    def fresh(self, seed: int) -> Self:
        """The same architecture newly constructed with weights initialised from `seed` (never a partial reset)."""

    @abstractmethod
    def save(self, path: Path) -> None:
        """Write weights (safetensors) and description into the folder `path`."""

    @classmethod
    @abstractmethod
    def load(cls, path: Path, device: torch.device | str = "cpu") -> Self:
        """Read what `save` wrote. Raises UserError when the folder holds another kind of model."""

    def beside_weights(self) -> Any:
        """JSON-able content that decides the responses beside the weights: with equal weights and equal content two
        models answer alike. None where that cannot be said (a guard at inference), so that nothing is shared."""
        return plain(self.settings) if getattr(self, "guard", None) is None else None

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return next(self.module.parameters()).device

    def trainable(self, role: str = "default") -> Iterator[tuple[str, nn.Parameter]]:
        """Named parameters that a method may train; siblings add roles (adapters, head, cross-attention …)."""
        if role != "default":
            raise KeyError(role)
        yield from ((name, p) for name, p in self.module.named_parameters() if p.requires_grad)

    def adapted(self, changes: Mapping[str, Any]) -> Self:
        """This model with settings laid over its own (adapters, frozen parts); nothing to change for most siblings."""
        if changes:
            raise UserError(
                f"model.{next(iter(changes))}: a loaded {self.modality} model cannot be changed. Remove the setting."
            )
        return self

    def merged(self) -> Self:
        """The same model without adapters, what they add being in the weights; itself where it has none."""
        return self

    def copy(self) -> Self:
        """An independent copy of the model; everything else (settings, decoded images) is shared."""
        twin = copy.copy(self)
        twin.module = copy.deepcopy(self.module)
        return twin


def weights_digest(module: nn.Module) -> str:
    """Hash of all parameters and buffers: equal exactly when every stored number is bit-equal."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode() + str(tuple(tensor.shape)).encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> bytes:
    if not tensor.numel():
        return b""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def read_description(path: Path, modality: str) -> dict[str, Any]:
    """What a saved model's handle.json says. Raises UserError when the folder holds none, or another kind of model."""
    file = path / "handle.json"
    if not file.is_file():
        raise UserError(f"{path}: is not a saved model (handle.json is missing).")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        raise UserError(f"{file}: damaged. Make the model again.") from None
    if not isinstance(content, dict) or not isinstance(content.get("settings", {}), dict):
        raise UserError(f"{file}: damaged. Make the model again.")
    if content.get("modality") != modality:
        raise UserError(f"{path}: holds a {content.get('modality')} model, not a {modality} one.")
    return content
