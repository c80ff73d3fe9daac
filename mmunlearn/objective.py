"""Objective engine: a table of weighted terms on named streams becomes streams and terms of the training loop.

Streams: forget, refusal (the forget questions answered by a refusal), retain (a random retain example beside each
forget example) and pd (the benchmark's example of the same index). All of them arrive in step with the forget set.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from mmunlearn import losses
from mmunlearn.data import Example, Split
from mmunlearn.errors import UserError
from mmunlearn.handle import Batch, Handle, Scored
from mmunlearn.phases import Step, Stream, Term
from mmunlearn.reference import Kind, Reference
from mmunlearn.seeds import generator
from mmunlearn.settings import Settings

TermKind = Literal["ce", "ascent", "kl", "npo", "simnpo", "dpo"]
STREAMS = ("forget", "refusal", "retain", "pd")
WITH_REFERENCE = ("kl", "npo", "dpo")
ORDER = "forget"  # in which every stream arrives


class Part(NamedTuple):
    """One line of a weight table.

    on: the streams whose items are averaged together (one mean over all of them, not a mean of means); for dpo the
    preferred and the rejected stream. weight: a positive coefficient; `ascent` brings its own minus sign.
    """

    kind: TermKind
    on: tuple[str, ...]
    weight: float = 1.0

    @property
    def name(self) -> str:
        """The term's name in events and checkpoints."""
        return "_".join((self.kind, *self.on))


class Rules(Settings):
    """How the terms are computed.

    reduction: means over answer tokens (the papers' code), or over sequences of each sequence's token mean.
    kl_scope: answer tokens; or, as the released code of TOFU, FIUBench and SafeEraser has it, every position of the
    padded batch with prompt, image tokens and padding; or (sum) the sum over all of these divided by the examples, as
    OFFSIDE's code has it. refusals: drawn anew at each access, or once an example.
    limit_nats: loss an item at which ascent leaves an answer alone (None: never). beta, gamma, margin_inside_beta: of
    npo, simnpo and dpo. reference: see Reference.
    """

    reduction: Literal["token", "sequence"] = "token"
    kl_scope: Literal["answer", "all", "sum"] = "answer"
    refusals: Literal["access", "example"] = "access"
    limit_nats: float | None = None
    beta: float = 0.1
    gamma: float = 0.0
    margin_inside_beta: bool = False
    reference: Kind = "auto"


class Objective:
    """`Σ weight · term` of a weight table. `who`: the method's name, for errors.

    Sources: objectives_and_seeds 3.1-3.6; vlm_fiu_mmu_safe 1.4, 3.2 and 6. Token counts are those of the handle's
    records. KL is KL(original ‖ model). Parts of weight 0 are left out: neither read nor computed.
    """

    def __init__(self, parts: Sequence[Part], rules: Rules, who: str):
        self.parts = tuple(part for part in parts if part.weight)
        self.rules = rules
        self.who = who
        self._reference: Reference | None = None
        if not self.parts:
            raise UserError(f"method[{who}].weights: all are zero, so there is nothing to minimise.")
        if len({part.name for part in self.parts}) != len(self.parts):
            raise ValueError(f"{who}: two parts of the objective are the same")

    @property
    def on(self) -> tuple[str, ...]:
        """The streams that the table reads, in the order of STREAMS."""
        return tuple(name for name in STREAMS if any(name in part.on for part in self.parts))

    @property
    def splits(self) -> frozenset[str]:
        """The splits that those streams are made from; the forget set always, whose length makes an epoch."""
        return frozenset({"forget", *self.on})

    # ---- streams ----------------------------------------------------------------------------------------------
    def streams(self, data: Mapping[str, Split], seed: int, make: Callable[..., Stream]) -> dict[str, Stream]:
        """The table's streams and which drives them is the first; `make(split, **options)` is the method's stream."""
        result = {}
        for name in self.on:
            split, relabel = self._source(name, data, seed)
            result[name] = make(split, relabel=relabel, order=ORDER)
        return result

    def _source(
        self, name: str, data: Mapping[str, Split], seed: int
    ) -> tuple[Split, Callable[[Example, int], Example] | None]:
        if name == "pd":
            _same_length(data["pd"], data["forget"], self.who)
            return data["pd"], None
        if name == "retain":
            return data["forget"], _partner(_filled(data["retain"], self.who), seed)
        if name == "refusal":
            once = self.rules.refusals == "example"
            return data["forget"], _refused(_filled(data["refusal"], self.who), seed, once=once)
        return data["forget"], None

    # ---- the original's records -------------------------------------------------------------------------------
    def remember(self, handle: Handle, streams: Mapping[str, Stream], epochs: int) -> None:
        """Keep what the terms need of the original; call while the handle still holds it.

        A cache is filled for exactly the examples that `epochs` passes will show.
        """
        asked = {name for part in self.parts if part.kind in WITH_REFERENCE for name in part.on}
        if not asked:
            return
        everywhere = self.rules.kl_scope != "answer" and any(part.kind == "kl" for part in self.parts)
        kind, augmented = self.rules.reference, any(streams[name].augment for name in asked)
        if everywhere and kind == "cached":
            scope = self.rules.kl_scope
            raise UserError(f"method[{self.who}].reference: kl_scope={scope} needs the model itself, not a cache.")
        # All positions of all examples would not fit a cache: the model answers instead.
        self._reference = Reference(handle, kind, augmented=augmented or everywhere)
        if self._reference.kind != "cached":
            return
        for name in sorted(asked):
            stream = streams[name]
            change = stream.relabel or (lambda example, epoch: example)
            shown = {change(e, epoch).id: change(e, epoch) for epoch in range(epochs) for e in stream.split}
            split = Split(stream.split.name, stream.split.role, tuple(shown.values()))
            self._reference.fill([split], stream.batch_size)

    # ---- terms ------------------------------------------------------------------------------------------------
    def terms(self, handle: Handle, batches: Mapping[str, Batch], step: Step | None) -> dict[str, Term]:
        """The step's terms; each stream passes through the model once."""
        asked = [name for part in self.parts if not self._everywhere(part) for name in part.on]
        scored = {name: handle.score(batches[name]) for name in dict.fromkeys(asked)}
        return {part.name: self._term(part, handle, batches, scored) for part in self.parts}

    def _everywhere(self, part: Part) -> bool:
        return part.kind == "kl" and self.rules.kl_scope != "answer"

    def _term(self, part: Part, handle: Handle, batches: Mapping[str, Batch], scored: Mapping[str, Scored]) -> Term:
        rules = self.rules
        if self._everywhere(part):
            return self._kl_everywhere(part, handle, batches)
        if part.kind == "dpo":
            won, lost = part.on
            loss = losses.dpo(
                self._aligned(batches, scored, won, lost), (scored[lost].nll, self._before(batches[lost]).nll),
                beta=rules.beta,
            )  # fmt: skip
            return Term(loss.sum(), f"{lost}.examples", part.weight)
        if part.kind in ("npo", "simnpo"):
            (name,) = part.on
            nll = scored[name].nll
            if part.kind == "npo":
                loss = losses.npo(nll, self._before(batches[name]).nll, beta=rules.beta)
            else:
                loss = losses.simnpo(
                    nll, scored[name].count, beta=rules.beta, gamma=rules.gamma,
                    margin_inside_beta=rules.margin_inside_beta,
                )  # fmt: skip
            return Term(loss.sum(), f"{name}.examples", part.weight)
        values = [self._each(part.kind, batches[name], scored[name]) for name in part.on]
        return self._averaged(part, values, [scored[name].count for name in part.on])

    def _each(self, kind: TermKind, batch: Batch, scored: Scored) -> Tensor:
        """The term of each example, summed over its items."""
        if kind == "kl":
            return losses.kl(self._before(batch), scored, who=self.who)
        if kind == "ascent" and self.rules.limit_nats is not None:
            return losses.capped(scored.nll, scored.count * self.rules.limit_nats)
        return scored.nll

    def _averaged(self, part: Part, values: Sequence[Tensor], counts: Sequence[Tensor]) -> Term:
        weight = -part.weight if part.kind == "ascent" else part.weight
        by_sequence = self.rules.reduction == "sequence"
        total = sum(((v / c).sum() if by_sequence else v.sum()) for v, c in zip(values, counts, strict=True))
        assert isinstance(total, Tensor)
        if len(part.on) == 1:
            return Term(total, part.on[0] + (".examples" if by_sequence else ""), weight)
        count = sum(len(c) if by_sequence else c.sum() for c in counts)
        return Term(total, "", weight, torch.as_tensor(count, dtype=torch.float64, device=total.device))

    def _kl_everywhere(self, part: Part, handle: Handle, batches: Mapping[str, Batch]) -> Term:
        """The mean over all positions, padding included; or their sum divided by the examples."""
        if not hasattr(handle, "score_everywhere"):
            raise UserError(f"method[{self.who}].kl_scope: this model knows answer positions only. Set it to answer.")
        assert self._reference is not None
        (name,) = part.on
        now, _ = handle.score_everywhere(batches[name])  # type: ignore[attr-defined]
        before, _ = self._reference.ask("score_everywhere", batches[name])
        each = losses.divergence(before, now, "categorical")
        counted = each.numel() if self.rules.kl_scope == "all" else len(batches[name])
        count = torch.tensor(float(counted), dtype=torch.float64, device=each.device)
        return Term(each.sum(), "", part.weight, count)

    def _before(self, batch: Batch) -> Scored:
        assert self._reference is not None, "remember() comes first"
        return self._reference.score(batch)

    def _aligned(
        self, batches: Mapping[str, Batch], scored: Mapping[str, Scored], name: str, other: str
    ) -> tuple[Tensor, Tensor]:
        """Model's and original's nll of stream `name` in the order of `other`: a handle may collate in its own."""
        row = {origin(i): k for k, i in enumerate(batches[name].ids)}
        same = torch.tensor([row[origin(i)] for i in batches[other].ids], device=scored[name].nll.device)
        return scored[name].nll[same], self._before(batches[name]).nll[same]


def origin(id: str) -> str:
    """Id of the forget example from which a refused one was made."""
    return id.partition("#refusal")[0]


def _refused(pool: Split, seed: int, *, once: bool) -> Callable[[Example, int], Example]:
    """The question with a refusal drawn by (seed, example, epoch); the id tells which, for caches."""

    def change(example: Example, epoch: int) -> Example:
        draw = generator(seed, "labels", "refusal", example.id, 0 if once else epoch)
        index = int(draw.integers(len(pool)))
        return replace(example, id=f"{example.id}#refusal{index}", target=pool[index].target, choices=())

    return change


def _partner(pool: Split, seed: int) -> Callable[[Example, int], Example]:
    """A retain example drawn uniformly by (seed, example, epoch), as FIUBench's loader pairs them."""

    def change(example: Example, epoch: int) -> Example:
        return pool[int(generator(seed, "pair", example.id, epoch).integers(len(pool)))]

    return change


def _filled(split: Split, who: str) -> Split:
    if not len(split):
        raise UserError(f"split {split.name!r} is empty; method {who!r} draws from it.")
    return split


def _same_length(one: Split, other: Split, who: str) -> None:
    if len(one) != len(other):
        raise UserError(
            f"split {one.name!r} has {len(one):,} examples and {other.name!r} {len(other):,}; "
            f"method {who!r} pairs them by index."
        )
