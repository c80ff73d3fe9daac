"""Random labels (RL): train the forget set on labels drawn at random and the retain set on its own."""

from collections.abc import Mapping, Sequence
from typing import Literal

from mmunlearn.data import Split
from mmunlearn.handle import Handle
from mmunlearn.methods._relabelling import relabelling_phases
from mmunlearn.methods.base import GradientMethod, Need, Optimiser, Phase


class RandomLabel(GradientMethod):
    """Minimise CE(forget, random label) and CE(retain, label), in passes one after the other or mixed.

    Sources: vision.md 6.3 and 6.4. SalUn repository (unlearn/RL.py): labels uniform over all K, drawn anew every
    epoch; `mode: sequential` on CIFAR-10 and SVHN, `mixed` on CIFAR-100 and TinyImageNet. SSD repository
    ("amnesiac"): `labels: wrong`, `relabel: fixed`, `mode: mixed`, 3 epochs, Adam lr 1e-4. Label vectors (vision.md
    6.17): each label Bernoulli(½), or `flip`. Norm mode: `norm`; both references train with batch statistics. Differs
    from the paper: nothing. Labels are drawn per (seed, example, epoch), so batches do not change them.
    """

    needs = frozenset({Need.FORGET, Need.RETAIN})
    paper = "Golatkar et al. 2020 (random labels); Fan et al. 2024 (SalUn repository, RL)"

    toy = {"batch_size": 12}

    class Config(GradientMethod.Config):
        """labels: see `relabeller`; relabel: new labels every epoch or one draw for all."""

        optimiser: Optimiser = Optimiser(lr=0.01, momentum=0.9, weight_decay=5e-4)
        epochs: int = 10
        labels: Literal["uniform", "wrong", "flip"] = "uniform"
        relabel: Literal["epoch", "fixed"] = "epoch"
        mode: Literal["sequential", "mixed"] = "sequential"

    def phases(self, handle: Handle, data: Mapping[str, Split], run) -> Sequence[Phase]:
        """A forget and a retain pass an epoch, or one mixed phase."""
        return relabelling_phases(self, handle, data, run.seed)
