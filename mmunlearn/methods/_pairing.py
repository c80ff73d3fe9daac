"""What methods on forget and retain batches share: paired streams, the retain term, the original model's records."""

from collections.abc import Mapping, Sequence
from typing import Literal

from mmunlearn import losses
from mmunlearn.data import Split
from mmunlearn.handle import Batch, Handle, Scored
from mmunlearn.methods.base import GradientMethod, Optimiser, Phase, Stream, Term, Terms
from mmunlearn.order import batches_per_epoch
from mmunlearn.reference import Reference


class Paired(GradientMethod.Config):
    """Settings of methods on forget and retain batches side by side.

    alpha: weight of the retain part. retain: what it is. pace: the set whose length makes an epoch; the other cycles.
    """

    optimiser: Optimiser = Optimiser(name="adamw", lr=1e-5, weight_decay=0.01)
    epochs: int = 10
    batch_size: int = 32
    alpha: float = 1.0
    retain: Literal["none", "nll", "kl"] = "nll"
    pace: Literal["forget", "retain"] = "forget"
    forget_batch_size: int | None = None


def paired_phase(method: GradientMethod, terms: Terms, data: Mapping[str, Split]) -> Sequence[Phase]:
    """The one phase of a method with settings `Paired`."""
    streams, driver = paired_streams(method, data)
    return [method.simple_phase(terms, streams, driver)]


def paired_streams(method: GradientMethod, data: Mapping[str, Split]) -> tuple[dict[str, Stream], str]:
    """Streams and driver for a method whose settings say `retain` (none | nll | kl), `pace` and `forget_batch_size`.

    `pace` names the stream whose length makes an epoch; the other one cycles. Without a retain part only the forget set
    is read.
    """
    c = method.config
    size = getattr(c, "forget_batch_size", None) or c.batch_size
    streams = {"forget": method.stream(data["forget"], batch_size=size)}
    if getattr(c, "retain", "nll") == "none":
        return streams, "forget"
    return streams | {"retain": method.stream(data["retain"])}, getattr(c, "pace", "forget")


def retain_terms(
    method: GradientMethod, handle: Handle, batches: Mapping[str, Batch], reference: Reference | None
) -> dict[str, Term]:
    """The retain part, weighted `alpha`: the task loss or KL(original ‖ model); empty where there is none."""
    if "retain" not in batches:
        return {}
    scored = handle.score(batches["retain"])
    if method.config.retain == "kl":
        assert reference is not None
        value = losses.kl(reference.score(batches["retain"]), scored, who=method.name()).sum()
        return {"retain": Term(value, kl_over(scored, "retain"), method.config.alpha)}
    return {"retain": Term(scored.nll.sum(), "retain", method.config.alpha)}


def kl_over(scored: Scored, stream: str) -> str:
    """What a divergence is averaged over: items (one a picture for a classifier); label vectors are summed over their
    labels and averaged over examples (vision.md 6.17)."""
    return f"{stream}.examples" if scored.family == "bernoulli" else stream


def original(method: GradientMethod, handle: Handle, *splits: Split) -> Reference:
    """Records of the model as it is now, cached when the streams show evaluation views."""
    c = method.config
    reference = Reference(handle, getattr(c, "reference", "auto"), augmented=c.augment)
    if reference.kind == "cached":
        reference.fill(splits, c.batch_size)
    return reference


def batch_length(n: int, size: int, index: int) -> int:
    """Length of batch number `index` of a loader over `n` examples that starts again when it is exhausted."""
    start = index % batches_per_epoch(n, size) * size
    return min(size, n - start)
