"""Guards: what a method adds at inference time, over unchanged weights. The sampler asks the handle's guard."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from .conditioning import Condition

if TYPE_CHECKING:
    from .handle import DiffusionHandle


@dataclass
class GuardStep:
    """Where the sampler is. memory: kept over the steps of one batch, for momentum and the like."""

    index: int
    steps: int
    t: Tensor
    texts: tuple[str, ...]
    scale: float
    memory: dict[str, Any] = field(default_factory=dict)


class Guard:
    """Base of guards: every verb does nothing. `facts` and `tensors` are what is saved; the method's file named
    `method` restores a guard from them by its function `restore(facts, tensors)`.

    A step's batch holds, in this order, the unconditional rows, the prompts' rows and the rows of `further`.
    """

    method: ClassVar[str]

    def facts(self) -> Mapping[str, Any]:
        """JSON-able settings."""
        return {}

    def tensors(self) -> Mapping[str, Tensor]:
        """Tensors to store."""
        return {}

    def condition(self, handle: "DiffusionHandle", texts: Sequence[str], condition: Condition) -> Condition:
        """Another condition for the prompts."""
        return condition

    def unconditional(self, handle: "DiffusionHandle", texts: Sequence[str], empty: Condition) -> Condition:
        """Another condition for the unconditional half (a negative prompt)."""
        return empty

    def further(self, handle: "DiffusionHandle", texts: Sequence[str]) -> Condition | None:
        """A third condition that each step predicts too, in the same pass."""
        return None

    def at_step(self, handle: "DiffusionHandle", step: GuardStep, latents: Tensor, condition: Condition) -> Condition:
        """Another condition at one step."""
        return condition

    def guidance(
        self, step: GuardStep, unconditional: Tensor, conditional: Tensor, further: Tensor | None
    ) -> Tensor | None:
        """The guided prediction; None leaves it to classifier-free guidance."""
        return None

    def hooks(self, handle: "DiffusionHandle", texts: Sequence[str]) -> AbstractContextManager[Any]:
        """Open while a batch is sampled: changes of activations, adapters scaled by prompt."""
        return nullcontext()
