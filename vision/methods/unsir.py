"""UNSIR: impair the model with noise that it is sure is wrong, then repair it on the retain set."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from mmunlearn.data import Example, Role, Split
from mmunlearn.engine import set_norm
from mmunlearn.handle import Batch
from mmunlearn.methods.base import GradientMethod, Need, Optimiser, Phase, Step, Term
from mmunlearn.seeds import generator
from mmunlearn.settings import merge

from ..handle import VisionHandle

Target = int | tuple[int, ...]

RECIPES: Mapping[str, Mapping[str, Any]] = {
    "original": {},
    "ssd": {
        "noise_batch": 32, "noise_steps": 25, "noise_copies": 80, "batch_size": 64,
        "optimiser": {"name": "adam", "lr": 1e-4}, "repair_optimiser": {"name": "adam", "lr": 1e-4},
    },
    "mufac": {
        "noise_lr": 0.01, "noise_steps": 5, "batch_size": 64, "epochs": 2, "norm": "eval",
        "optimiser": {"name": "sgd", "lr": 1e-3}, "repair_optimiser": {"name": "sgd", "lr": 1e-3},
    },
}  # fmt: skip


class Unsir(GradientMethod):
    """Noise pictures are learned to be as unlike the forget set as possible; training on them impairs, then repairs.

    variant "original" (Tarun et al. 2023; vision.md 6.11): for each target of the forget set, `noise_batch` pictures
        minimise `−CE(noise, target) + penalty·mean Σx²` (Adam .1, 40 steps). Impair: one shuffled epoch of CE over
        `noise_copies` copies of the noise under that target and the retain set, Adam .02. Repair: CE(retain), Adam .01.
    variant "ssd" (SSD repository): 32 pictures, 25 steps, 80 copies, both passes Adam 1e-4.
    variant "mufac" (MU-NB; vision.md 1.5): for each pair of full batches, noise minimises `−MSE(z(noise), z(x_f))`
        (Adam .01, 5 steps); then one step on `CE(clamp(noise, 0, 1), y_r) + CE(x_r, y_r)`; two epochs, batch norm
        frozen, SGD .001. `stage: impair` is the table's "stage 1", `stage: repair` its "stage 2".
    Differs from the original's code: there all noise carries class 0, and 1,000 retain pictures a class take part; here
    noise carries its own target, and all retain pictures do. Noise lives where the handle's inputs live, before the
    network's own normalisation. Learning noise never moves batch statistics. In the "mufac" variant an epoch reads the
    shorter of the two sets once; the other set goes on where it stopped.
    Norm mode: train; "mufac": eval. Multi-label (a project definition): a target is a label vector; binary
    cross-entropy.
    """

    needs = frozenset({Need.FORGET, Need.RETAIN, Need.LOGITS})
    paper = "Tarun et al. 2023 (UNSIR); Choi and Na 2023 (its MUFAC form)"

    toy = {"batch_size": 8, "noise_batch": 8, "noise_copies": 2, "noise_steps": 5, "repair_epochs": 4}

    class Config(GradientMethod.Config):
        """variant: gives the defaults of its paper to whatever is not set. stage: the last pass to run. penalty: of the
        squared norm of noise. noise_batch, noise_copies: unused by "mufac", whose noise is as large as the batch."""

        variant: Literal["original", "ssd", "mufac"] = "original"
        stage: Literal["impair", "repair"] = "repair"
        optimiser: Optimiser = Optimiser(name="adam", lr=0.02)
        repair_optimiser: Optimiser = Optimiser(name="adam", lr=0.01)
        repair_epochs: int = 1
        batch_size: int = 256
        noise_batch: int = 256
        noise_copies: int = 20
        noise_lr: float = 0.1
        noise_steps: int = 40
        penalty: float = 0.1

    @classmethod
    def defaults(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the variant that `given` names."""
        return merge(super().defaults(given), RECIPES.get(str(given.get("variant", "original")), {}))

    def prepare(self, handle: VisionHandle, data: Mapping[str, Split], run) -> None:
        """Learn the noise of each target; "mufac" learns its noise step by step instead."""
        self._seed = run.seed
        self._noise: dict[str, Tensor] = {}
        if self.config.variant == "mufac":
            return
        first = data["retain"][0]
        distinct: set[Any] = {example.target for example in data["forget"]}
        targets: list[Target] = sorted(distinct)
        size = handle.inputs(handle.collate([first]).to(handle.device)).shape[1:]
        for number, target in enumerate(targets):
            start = generator(run.seed, "noise", "unsir", target).standard_normal((self.config.noise_batch, *size))
            batch = handle.collate([first.with_target(target)] * self.config.noise_batch).to(handle.device)
            self._noise[f"unsir/noise/{number}"] = self._learn(handle, torch.from_numpy(start).float(), batch)
        self._targets: Sequence[Target] = targets

    def _learn(self, handle: VisionHandle, noise: Tensor, batch: Batch) -> Tensor:
        c = self.config
        items = int(batch.count.sum())

        def objective(x: Tensor) -> Tensor:
            size = x.square().flatten(1).sum(1).mean()
            return c.penalty * size - handle.score_inputs(x, batch).nll.sum() / items

        return descend(handle, objective, noise.to(handle.device), c.noise_lr, c.noise_steps).cpu()

    def phases(self, handle: VisionHandle, data: Mapping[str, Split], run) -> Sequence[Phase]:
        """Impair, and repair if the settings ask for it."""
        c = self.config
        if c.variant == "mufac":
            impair = self._paired(data)
        else:
            streams = {"mixed": self.stream(self._mixed(data["retain"]))}
            impair = self.simple_phase(self._impair, streams, "mixed", name="impair", optimiser="impair")
        if c.stage == "impair":
            return [impair]
        repair = self.simple_phase(
            self._repair, {"retain": self.stream(data["retain"])}, "retain",
            name="repair", optimiser="repair", spec=c.repair_optimiser, epochs=c.repair_epochs,
        )  # fmt: skip
        return [impair, repair]

    # ---- original and ssd: a bank of noise mixed with the retain set ---------------------------------------------
    def _mixed(self, retain: Split) -> Split:
        """Retain examples and placeholders for noise; a placeholder's id says which row of the bank it stands for, and
        its picture (any will do) is replaced before the network sees it."""
        any_image = retain[0].image
        rows = [
            Example(id=f"unsir/noise/{number}/{row}", image=any_image, target=target)
            for number, target in enumerate(self._targets)
            for _ in range(self.config.noise_copies)
            for row in range(self.config.noise_batch)
        ]
        return Split("retain and noise", Role.RETAIN, (*retain.examples, *rows))

    def _impair(self, handle: VisionHandle, batches, step: Step) -> dict[str, Term]:
        batch = batches["mixed"]
        inputs = handle.inputs(batch).clone()
        for i, name in enumerate(batch.ids):
            bank, _, row = name.rpartition("/")
            if bank in self._noise:
                inputs[i] = self._noise[bank][int(row)].to(inputs)
        return {"impair": Term(handle.score_inputs(inputs, batch).nll.sum(), "mixed")}

    # ---- mufac: noise for every pair of batches ---------------------------------------------------------------------
    def _paired(self, data: Mapping[str, Split]) -> Phase:
        retain, forget = data["retain"], data["forget"]
        size = min(self.config.batch_size, len(retain), len(forget))
        streams = {
            "retain": self.stream(retain, batch_size=size, drop_last=True),
            "forget": self.stream(forget, batch_size=size, drop_last=True),
        }
        self._pair_size = size
        driver = "forget" if len(forget) <= len(retain) else "retain"
        return self.simple_phase(self._impair_pair, streams, driver, name="impair", optimiser="impair")

    def _impair_pair(self, handle: VisionHandle, batches, step: Step) -> dict[str, Term]:
        kept, forgotten = batches["retain"], batches["forget"]
        with torch.no_grad():
            x_f = handle.inputs(forgotten)
        start = pair_noise(self._seed, step.index, forgotten.ids, tuple(x_f.shape[1:])).to(x_f)
        with torch.no_grad():
            handle.module.eval()
            aim = handle.logits(x_f)
        # The mean of the reference runs over the whole batch; a micro-batch divides by the same number.
        items = self._pair_size * aim[0].numel()

        def objective(x: Tensor) -> Tensor:
            return -functional.mse_loss(handle.logits(x), aim, reduction="sum") / items

        noise = descend(handle, objective, start, self.config.noise_lr, self.config.noise_steps).clamp(0, 1)
        set_norm(handle.module, self.config.norm)
        return {
            "noise": Term(handle.score_inputs(noise, kept).nll.sum(), "retain"),
            "retain": Term(handle.score(kept).nll.sum(), "retain"),
        }

    def _repair(self, handle: VisionHandle, batches, step: Step) -> dict[str, Term]:
        return {"ce": Term(handle.score(batches["retain"]).nll.sum(), "retain")}


def pair_noise(
    seed: int, step: int, ids: Sequence[str], shape: tuple[int, ...]
) -> Float[Tensor, "batch 3 height width"]:
    """Standard normal pictures, each a function of (seed, step, id) alone."""
    rows = [generator(seed, "noise", "unsir", step, name).standard_normal(shape) for name in ids]
    return torch.from_numpy(np.stack(rows)).float()


def descend(handle: VisionHandle, objective, start: Tensor, lr: float, steps: int) -> Tensor:
    """`start` after `steps` Adam steps on `objective`, the network fixed and in evaluation mode."""
    training = handle.module.training
    handle.module.eval()
    with torch.enable_grad():
        x = start.detach().clone().requires_grad_(True)
        optimiser = torch.optim.Adam([x], lr=lr)
        for _ in range(steps):
            (x.grad,) = torch.autograd.grad(objective(x), x)
            optimiser.step()
    handle.module.train(training)
    return x.detach()
