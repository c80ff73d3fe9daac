"""What an attacker with gradients changes while a question is answered: embeddings, a layer's output, pixels.

Each kind says how a perturbation starts, what the model makes of lessons under it (differentiable in it), how a
gradient moves it, and where it must stay.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from mmunlearn.attacks.base import Metered
from mmunlearn.data import Example
from mmunlearn.handle import Decoding

from .decoder_layers import (
    activations_pushed,
    activations_seen,
    decoder_layers,
    embeddings_put,
    question_span,
)
from .response_rows import complete, parts

Move = Callable[[Tensor], None]
Place = tuple[tuple[int, ...], int, tuple[int, int]]  # token ids, where the answer starts, which positions are changed


class Perturbation(ABC):
    """One kind of change. open_ended: lessons' answers are beginnings, so no end token is supervised."""

    open_ended = False

    @abstractmethod
    def start(self, meter: Metered, lessons: Sequence[Example], draw: np.random.Generator) -> Tensor:
        """The perturbation before the first step."""

    @abstractmethod
    def mover(self, value: Tensor) -> Move:
        """A function that moves `value` in place along the descent direction of a gradient and back into bounds."""

    @abstractmethod
    def nll(self, meter: Metered, lessons: Sequence[Example], value: Tensor) -> Tensor:
        """Negative log-likelihood of each lesson's answer a token, in nats."""

    def tokens(self, handle: Any, lesson: Example) -> tuple[tuple[int, ...], int]:
        """Token ids of question and answer, and where the answer starts."""
        ids, start = handle.tokens(lesson)
        ends = set(handle.end_ids())
        while self.open_ended and len(ids) > start + 1 and ids[-1] in ends:
            ids = ids[:-1]
        return ids, start


class Inside(Perturbation):
    """A change inside the language model, at positions of each prompt; answers are generated under it."""

    @abstractmethod
    def place(self, handle: Any, example: Example, ids: tuple[int, ...], start: int) -> Place:
        """Token ids with room for the change, and where it goes."""

    @abstractmethod
    def during(self, handle: Any, spans: Tensor, positions: int, value: Tensor) -> AbstractContextManager[Any]:
        """The change while open. spans: (row, 2), first position and the one behind the last."""

    def nll(self, meter: Metered, lessons: Sequence[Example], value: Tensor) -> Tensor:
        """Lessons in one batch, those with and without pictures apart where the family cannot mix them."""
        handle = meter.inner
        found: list[Tensor] = [value.new_zeros(())] * len(lessons)
        for part in parts(handle, range(len(lessons)), lessons, len(lessons)):
            chosen = [lessons[i] for i in part]
            places = [self.place(handle, lesson, *self.tokens(handle, lesson)) for lesson in chosen]
            batch = handle.collated(chosen, [(ids, start) for ids, start, _ in places]).to(handle.device)
            spans = torch.tensor([span for _, _, span in places], device=handle.device)
            with self.during(handle, spans, batch.tensors["input_ids"].shape[1], value):
                scored = meter.score(batch)
            for i, one in zip(part, scored.nll / scored.count, strict=True):
                found[i] = one
        return torch.stack(found)

    def said(self, meter: Metered, goals: Sequence[Example], value: Tensor, how: Decoding) -> list[str]:
        """Greedy answers to the goals' questions under one perturbation; a query each."""
        handle = meter.inner
        places = []
        for goal in goals:
            ids = handle.prompt_ids(goal)
            places.append(self.place(handle, goal, ids, len(ids)))

        def around(part: list[int], positions: int) -> AbstractContextManager[Any]:
            shifts = [positions - len(places[i][0]) for i in part]  # prompts are padded on the left
            spans = [[end + shift for end in places[i][2]] for i, shift in zip(part, shifts, strict=True)]
            return self.during(handle, torch.tensor(spans, device=handle.device), positions, value)

        meter.spend([goal.id for goal in goals], queries=1)
        with torch.inference_mode():
            return complete(handle, goals, how, 0, [ids for ids, _, _ in places], around)


class FreeEmbeddings(Inside):
    """`count` embeddings of no token before or behind the question.

    rule: "sign" moves each number by `rate` against the sign of its gradient, "adam" by Adam. radius: greatest distance
    of a number from where it started; None = no bound. start: every place the embedding of `filler`, or ("drawn") that
    of a token drawn from the vocabulary.
    """

    def __init__(
        self, count: int, where: Literal["before", "behind"], rule: Literal["sign", "adam"], rate: float,
        filler: str = "", radius: float | None = None,
    ):  # fmt: skip
        self.count, self.where, self.rule, self.rate = count, where, rule, rate
        self.filler, self.radius = filler, radius

    def _filler_id(self, handle: Any) -> int:
        return handle.tokenizer(self.filler or "!", add_special_tokens=False).input_ids[0]

    def start(self, meter, lessons, draw):
        handle = meter.inner
        table = handle.model.get_input_embeddings().weight.detach()
        ids = [self._filler_id(handle)] * self.count
        if not self.filler:
            ids = [int(i) for i in draw.integers(len(handle.tokenizer), size=self.count)]
        return table[torch.tensor(ids, device=table.device)].float().clone()

    def mover(self, value):
        first = value.detach().clone()
        adam = torch.optim.Adam([value], lr=self.rate) if self.rule == "adam" else None

        def move(grad: Tensor) -> None:
            if adam is not None:
                value.grad = grad
                adam.step()
                value.grad = None
            else:
                value.data -= self.rate * grad.sign()
            if self.radius is not None:
                value.data.copy_((value.data - first).clamp(-self.radius, self.radius) + first)

        return move

    def place(self, handle, example, ids, start):
        span = question_span(handle, example)
        at = min(span[0] if self.where == "before" else span[1], start)
        made = (*ids[:at], *([self._filler_id(handle)] * self.count), *ids[at:])
        return made, start + self.count, (at, at + self.count)

    def during(self, handle, spans, positions, value):
        at = spans[:, :1] + torch.arange(self.count, device=spans.device)
        return embeddings_put(handle, at, value, positions)


class Push(Inside):
    """One vector added to what leaves a decoder layer at every position of the question, within an L2 ball.

    layer: which; None = the middle one. radius_frac: the ball's radius over the mean L2 norm of the states that are
    pushed, measured on the lessons. A step goes `rate_frac` of the radius along the normalised gradient.
    """

    def __init__(self, layer: int | None, radius_frac: float, rate_frac: float):
        self.layer, self.radius_frac, self.rate_frac = layer, radius_frac, rate_frac
        self.radius = 0.0

    def _at(self, handle: Any) -> int:
        count = len(decoder_layers(handle))
        return (count - 1) // 2 if self.layer is None else self.layer

    def start(self, meter, lessons, draw):
        handle = meter.inner
        width = handle.model.get_input_embeddings().weight.shape[1]
        value = torch.zeros(width, device=handle.device)
        spans = [self.place(handle, lesson, *self.tokens(handle, lesson))[2] for lesson in lessons]
        norms: list[Tensor] = []
        with torch.no_grad():
            for lesson, (first, last) in zip(lessons, spans, strict=True):
                batch = handle.collated([lesson], [self.tokens(handle, lesson)]).to(handle.device)
                with activations_seen(handle, self._at(handle)) as seen:
                    meter.score(batch)
                norms.append(seen[-1][0, first:last].float().norm(dim=-1))
        self.radius = self.radius_frac * float(torch.cat(norms).mean())
        return value

    def mover(self, value):
        radius = self.radius

        def move(grad: Tensor) -> None:
            value.data -= self.rate_frac * radius * grad / grad.norm().clamp_min(1e-12)
            value.data *= min(1.0, radius / max(float(value.data.norm()), 1e-12))

        return move

    def place(self, handle, example, ids, start):
        first, last = question_span(handle, example)
        return ids, start, (first, max(last, first + 1))

    def during(self, handle, spans, positions, value):
        at = torch.arange(positions, device=spans.device)
        where = (at >= spans[:, :1]) & (at < spans[:, 1:])
        return activations_pushed(handle, self._at(handle), where, value)


class Pixels(Perturbation):
    """Levels (0..255) added to pictures, none beyond `eps`; a grid in the size of the first lesson's picture, stretched
    over pictures of another size, which leaves every value within the ball."""

    radius: ClassVar[str] = "L-infinity"

    def __init__(self, eps: int, rate: float):
        self.eps, self.rate = eps, rate

    def start(self, meter, lessons, draw):
        height, width = _levels(lessons[0]).shape[1:]
        drawn = draw.uniform(-self.eps, self.eps, (3, height, width))
        return torch.tensor(drawn, dtype=torch.float32, device=meter.device)

    def mover(self, value):
        def move(grad: Tensor) -> None:
            value.data.copy_((value.data - self.rate * grad.sign()).clamp(-self.eps, self.eps))

        return move

    def nll(self, meter, lessons, value):
        handle = meter.inner
        pictures = []
        for lesson in lessons:
            changed = self.added(_levels(lesson).to(value.device), value)
            pictures.append(handle.family.picture(handle.processor, changed))
        drawn = [self.tokens(handle, lesson) for lesson in lessons]
        scored = meter.score(handle.collated(lessons, drawn, pictures=pictures).to(handle.device))
        return scored.nll / scored.count

    @staticmethod
    def added(levels: Tensor, value: Tensor) -> Tensor:
        """(3, height, width) levels under the perturbation, kept between 0 and 255."""
        if value.shape != levels.shape:
            size = levels.shape[1:]
            value = nn.functional.interpolate(value[None], size=size, mode="bilinear", align_corners=False)[0]
        return (levels + value).clamp(0, 255)

    def picture(self, goal: Example, value: Tensor) -> np.ndarray:
        """The goal's picture under the perturbation in whole levels: (height, width, 3) of eight bits, in the ball."""
        made = self.added(_levels(goal), value.detach().cpu()).round()
        return made.permute(1, 2, 0).numpy().astype(np.uint8)


def _levels(example: Example) -> Tensor:
    """The picture as (3, height, width) levels 0..255."""
    assert example.image is not None
    return torch.from_numpy(np.asarray(example.image.open()).copy()).permute(2, 0, 1).float()
