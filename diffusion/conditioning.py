"""Prompts as tokens and as what a denoiser is conditioned on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mmunlearn.errors import UserError

MOST_BYTES = 1 << 30  # encoded prompts that are kept
AT_ONCE = 64  # prompts in a pass of the text encoders


def first_place(row: Sequence[int], wanted: Sequence[int]) -> slice | None:
    """Where the ids `wanted` stand in a row of ids for the first time; None where they do not or are none."""
    n = len(wanted)
    start = next((i for i in range(len(row) - n + 1) if row[i : i + n] == wanted), None) if n else None
    return None if start is None else slice(start, start + n)


@dataclass(frozen=True)
class Tokens:
    """Padded token ids of prompts, one (batch, length) tensor a text encoder; positions are those of the first."""

    texts: tuple[str, ...]
    ids: tuple[Int[Tensor, "batch length"], ...]
    tokenizer: Any = field(repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def first_eot(self) -> Int[Tensor, " batch"]:
        """Position of the first end-of-text token; later ones are padding."""
        return (self.ids[0] == self.tokenizer.eos_token_id).int().argmax(-1)

    @property
    def last_subject(self) -> Int[Tensor, " batch"]:
        """Position of the last token of the prompt proper (the start token for an empty prompt)."""
        return self.first_eot - 1

    @property
    def mask(self) -> Bool[Tensor, "batch length"]:
        """Start token, prompt and first end-of-text token."""
        return torch.arange(self.ids[0].shape[1], device=self.ids[0].device) <= self.first_eot[:, None]

    def subject_span(self, phrase: str) -> list[slice]:
        """Positions of `phrase` in each prompt (its first occurrence). Raises UserError where a prompt lacks it."""
        wanted = self.tokenizer(phrase, add_special_tokens=False).input_ids
        spans = []
        for text, row in zip(self.texts, self.ids[0].tolist(), strict=True):
            place = first_place(row, wanted)
            if place is None:
                raise UserError(f"the phrase {phrase!r} does not stand in the prompt {text!r}.")
            spans.append(place)
        return spans

    def to(self, device: torch.device | str) -> "Tokens":
        """The same with ids on `device`."""
        return replace(self, ids=tuple(row.to(device) for row in self.ids))


@dataclass(frozen=True)
class Condition:
    """What a denoiser is conditioned on, a row a prompt. pooled: of families that have it (SDXL, SD3, FLUX)."""

    states: Float[Tensor, "batch length width"]
    pooled: Float[Tensor, "batch pooled"] | None = None

    def __len__(self) -> int:
        return len(self.states)

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Condition":
        values: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        changed: dict[str, Any] = {name: None if value is None else change(value) for name, value in values.items()}
        return replace(self, **changed)

    def index(self, rows: Any) -> "Condition":
        """Chosen rows: a slice, a list or a tensor of positions."""
        rows = torch.as_tensor(rows) if isinstance(rows, (list, tuple)) else rows
        return self._each(lambda value: value[rows.to(value.device) if isinstance(rows, Tensor) else rows])

    def cat(self, *others: "Condition") -> "Condition":
        """These rows, then those of the others."""
        parts = (self, *others)
        joined: dict[str, Any] = {
            f.name: None if getattr(self, f.name) is None else torch.cat([getattr(p, f.name) for p in parts])
            for f in fields(self)
        }
        return replace(self, **joined)

    def repeat(self, n: int) -> "Condition":
        """All rows `n` times over: a b a b."""
        return self._each(lambda value: value.repeat(n, *[1] * (value.dim() - 1)))

    def to(self, target: torch.device | torch.dtype | str) -> "Condition":
        """The same on a device, or in a number type."""
        return self._each(lambda value: value.to(target))

    def detached(self) -> "Condition":
        """The same without a graph."""
        return self._each(Tensor.detach)


class EncodingCache:
    """Encoded prompts by their token ids, as long as the text encoders' weights stay what they were."""

    def __init__(self) -> None:
        self._rows: dict[bytes, Condition] = {}
        self._state: tuple = ()

    def get(
        self, ids: Sequence[Tensor], modules: Sequence[nn.Module], make: Callable[[list[Tensor]], Condition]
    ) -> Condition:
        """The condition of each row of `ids`; missing ones are made together by `make`, each once."""
        state = tuple((p.data_ptr(), p._version, p.dtype) for module in modules for p in module.parameters())
        if state != self._state:
            self._rows, self._state = {}, state
        host = [part.cpu() for part in ids]
        keys = [b"".join(part[row].numpy().tobytes() for part in host) for row in range(len(host[0]))]
        missing = {key: row for row, key in enumerate(keys) if key not in self._rows}
        # What is handed out may take part in a graph, though it was asked for in an inference-mode block.
        with torch.inference_mode(False), torch.no_grad():
            if missing:
                self._bound(len(missing), keys)
                self._fill(missing, host, make)
            first, *others = (self._rows[key] for key in keys)
            return first.cat(*others)

    def _fill(
        self, missing: Mapping[bytes, int], host: Sequence[Tensor], make: Callable[[list[Tensor]], Condition]
    ) -> None:
        names, rows = list(missing), list(missing.values())
        for start in range(0, len(rows), AT_ONCE):
            made = make([ids.clone()[rows[start : start + AT_ONCE]] for ids in host])
            for row, key in enumerate(names[start : start + AT_ONCE]):
                # A row of its own: a slice would keep its whole batch alive.
                self._rows[key] = made.index([row])

    def _bound(self, coming: int, asked: Sequence[bytes]) -> None:
        if self._rows:
            row = next(iter(self._rows.values()))
            size = row.states.numel() * row.states.element_size()
            if (len(self._rows) + coming) * size > MOST_BYTES:
                self._rows = {key: self._rows[key] for key in asked if key in self._rows}
