"""DUCK: pull each forget picture's features towards the nearest centroid of another class."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from mmunlearn.data import Split
from mmunlearn.errors import UserError
from mmunlearn.methods.base import GradientMethod, Need, Optimiser, Phase, Step, Term

from ..handle import VisionHandle


class Duck(GradientMethod):
    """Minimise `forget_weight·(1 − cos(f(x), c)) + retain_weight·CE(z_r/temperature, y_r)` on paired batches.

    f are penultimate features, c the centroid nearest to f(x) (in cosine distance) among those of other classes than
    x's own; the centroids are means of the original's features of retain pictures, a class each.
    Source: vision.md 6.16 and 3.3 (SCAR repository; UUEF: both weights 1.5, temperature 2, Adam; one loop over the
    forget set with retain batches alongside). Differs from the source: the centroids come from the whole retain set on
    evaluation views, not from the first ten batches of a loader; lr and epochs are ours, the sheet names none.
    Norm mode: train. Multi-label (a project definition): a class is a label vector; binary cross-entropy of z_r/T.
    """

    needs = frozenset({Need.FORGET, Need.RETAIN, Need.REFERENCE, Need.LOGITS})
    paper = "Cotogni et al. 2023 (DUCK)"

    toy = {"batch_size": 12, "optimiser": {"lr": 0.003}}

    class Config(GradientMethod.Config):
        """Weights of the two parts and the retain temperature."""

        forget_weight: float = 1.5
        retain_weight: float = 1.5
        temperature: float = 2.0
        optimiser: Optimiser = Optimiser(name="adam", lr=5e-4)
        epochs: int = 5

    @torch.no_grad()
    def prepare(self, handle: VisionHandle, data: Mapping[str, Split], run) -> None:
        """Centroids of the retain set, one a target."""
        retain = data["retain"]
        training = handle.module.training
        handle.module.eval()
        targets, features = [], []
        for start in range(0, len(retain), 256):
            batch = handle.collate(retain[start : start + 256]).to(handle.device)
            features.append(handle.features(batch))
            targets.append(batch.tensors["target"])
        handle.module.train(training)
        self._classes, self._centroids = centroids(torch.cat(features), torch.cat(targets))
        if len(self._classes) < 2:
            raise UserError("duck: the retain set has one class only, so no other centroid exists. Use another method.")

    def phases(self, handle: VisionHandle, data: Mapping[str, Split], run) -> Sequence[Phase]:
        """One phase; an epoch is one pass over the forget set."""
        streams = {"forget": self.stream(data["forget"]), "retain": self.stream(data["retain"])}
        return [self.simple_phase(self._terms, streams, "forget")]

    def _terms(self, handle: VisionHandle, batches, step: Step) -> dict[str, Term]:
        c, terms = self.config, {}
        # A micro-batch may hold examples of one stream only.
        if "forget" in batches:
            batch = batches["forget"]
            features, targets = handle.features(batch), batch.tensors["target"]
            own = (targets[:, None] == self._classes.to(targets.device)).all(-1)
            distance = nearest_distance(features, self._centroids.to(features), own)
            terms["forget"] = Term(distance.sum(), "forget.examples", c.forget_weight)
        if "retain" in batches:
            batch = batches["retain"]
            y, z = batch.tensors["target"], handle.score(batch).logits / c.temperature
            if handle.family == "categorical":
                loss = functional.cross_entropy(z.transpose(1, 2), y, reduction="sum")
            else:
                loss = functional.binary_cross_entropy_with_logits(z[..., 0], y.to(z), reduction="sum")
            terms["retain"] = Term(loss, "retain", c.retain_weight)
        return terms


def centroids(
    features: Float[Tensor, "example width"], targets: Int[Tensor, "example item"]
) -> tuple[Int[Tensor, "group item"], Float[Tensor, "group width"]]:
    """Distinct targets and the mean features of each."""
    classes, group = targets.unique(dim=0, return_inverse=True)
    sums = features.new_zeros(len(classes), features.shape[1]).index_add_(0, group, features)
    return classes, sums / group.bincount(minlength=len(classes)).to(sums)[:, None]


def nearest_distance(
    features: Float[Tensor, "batch width"], means: Float[Tensor, "group width"], own: Bool[Tensor, "batch group"]
) -> Float[Tensor, " batch"]:
    """Cosine distance, 0..2, to the nearest centroid that is not the example's own."""
    cosine = functional.normalize(features, dim=1) @ functional.normalize(means, dim=1).T
    return 1 - cosine.masked_fill(own, -2.0).max(1).values
