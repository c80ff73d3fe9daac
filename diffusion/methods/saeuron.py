"""SAeUron: a sparse autoencoder finds a concept's features in the U-Net; they are turned down while sampling."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from mmunlearn.data import Example, Split
from mmunlearn.errors import UserError, near_miss
from mmunlearn.handle import Handle
from mmunlearn.methods.base import GuardMethod
from mmunlearn.seeds import derive
from mmunlearn.settings import Settings

from ..conditioning import Condition
from ..guard import Guard, GuardStep
from ..handle import DiffusionHandle
from ..sampler import Request, initial_noise, sampler_settings, walk
from ..settings import SamplerSettings
from ._guarding import guarded, phrases
from ._sparse_autoencoder import Autoencoder, train

DEFAULT_LAYER = "up_blocks.1.attentions.1"


class Ablation(NamedTuple):
    """Features to turn down, one entry a (step, feature): where active above `limit`, times `factor`."""

    steps: Int[Tensor, " entry"]
    features: Int[Tensor, " entry"]
    factors: Float[Tensor, " entry"]
    limits: Float[Tensor, " entry"]


class Saeuron(GuardMethod):
    """Train a top-k sparse autoencoder on a U-Net layer's outputs while it samples concept and anchors; at every step,
    multiply the concept's features by a negative multiple of their mean where they are strong.

    A feature's score at a step is its share of all activation under the concept's prompts minus that under the others;
    those above the `percentile` of scores are the concept's. Where one exceeds its mean over concepts (groups of
    prompts that share the style or object), it is multiplied by `multiplier` times its mean under the concept. What the
    autoencoder does not reconstruct stays. Source: arXiv 2501.18052; SAeUron repository at 1a4302a: expansion 16, k 32
    over the batch, Adam 4e-4, batch 4,096; styles up_blocks.1.attentions.2, percentile 99.999, multiplier −1; objects
    up_blocks.1.attentions.1, percentile 99.99 to 99.999, multiplier −1 to −30. Differs from the paper: its code adds
    the reconstruction's error with the wrong sign (reconstruction minus activation), so that even without a feature to
    turn down the layer's output changes (`error: reference`); no extra loss for dead features.
    """

    needs = frozenset({"concept", "anchor"})
    intent = "suppression"
    paper = "Cywiński and Deja 2025 (SAeUron, ICML, arXiv 2501.18052)"
    toy = {
        "expansion": 4, "k": 4, "epochs": 3, "batch_size": 256, "lr": 0.01, "percentile": 90.0, "multiplier": -2.0,
    }  # fmt: skip

    class Config(Settings):
        """layer: inside the denoiser; None is up_blocks.1.attentions.1, or the last attention block of models that have
        none there. samples: pictures a prompt. rows: activations that are kept for training and scores, at most.
        sampler: laid over the model's own."""

        layer: str | None = None
        expansion: int = Field(16, ge=1)
        k: int = Field(32, ge=1)
        lr: float = Field(4e-4, gt=0)
        batch_size: int = Field(4096, ge=1)
        epochs: int = Field(5, ge=1)
        percentile: float = Field(99.999, ge=0, lt=100)
        multiplier: float = -1.0
        samples: int = Field(1, ge=1)
        rows: int = Field(1_000_000, ge=1)
        error: Literal["intended", "reference"] = "intended"
        sampler: dict[str, Any] = Field(default_factory=dict)

    def wrap(self, handle: Handle, data: Mapping[str, Split], run) -> Handle:
        """Sample, train the autoencoder, score, choose."""
        assert isinstance(handle, DiffusionHandle)
        c, words = self.config, phrases(data["concept"], self.name())
        layer = chosen_layer(handle, c.layer)
        concept, anchors = ([e for e in data[name] if e.prompt is not None] for name in ("concept", "anchor"))
        examples, groups = [*concept, *anchors], grouped(concept, anchors)
        if len(set(groups)) < 2:
            raise UserError("saeuron: there are no prompts beside the concept's. Give split 'anchor'.")
        acts, times = self._gather(handle, layer, examples, run.seed)
        model = train(
            acts.flatten(0, 2), c.expansion, c.k, c.epochs, derive(run.seed, "init", "saeuron"), lr=c.lr,
            batch_size=c.batch_size,
        )  # fmt: skip
        means = torch.stack([model.encode(some, c.k).mean(1) for some in acts])
        by_group = {g: means[[i for i, x in enumerate(groups) if x == g]].mean(0) for g in dict.fromkeys(groups)}
        ablation = choose(by_group, words, c.percentile, c.multiplier)
        return guarded(handle, FeatureGuard(layer, model, ablation, times, (c.k, c.error)))

    @torch.no_grad()
    def _gather(
        self, handle: DiffusionHandle, layer: str, examples: Sequence[Example], seed: int
    ) -> tuple[Float[Tensor, "prompt step row width"], Tensor]:
        """The layer's outputs of the prompts' halves, some cells a step, and the steps' times."""
        how = sampler_settings(self.config.sampler, handle.settings.sampler)
        handle.module.eval()
        found = []
        for start in range(0, len(examples), how.batch_size):
            part = examples[start : start + how.batch_size]
            runs = [outputs(handle, layer, part, how, derive(seed, "sample", n)) for n in range(self.config.samples)]
            rows = torch.cat([rows for rows, _ in runs], 2).float()
            most = max(1, self.config.rows // (len(examples) * rows.shape[1]))
            if rows.shape[2] > most:  # the same cells for all prompts
                draw = torch.Generator().manual_seed(derive(seed, "sample", "saeuron cells"))
                rows = rows[:, :, torch.randperm(rows.shape[2], generator=draw)[:most].to(rows.device)]
            found.append(rows)
        return torch.cat(found), runs[0][1].float().cpu()


def outputs(
    handle: DiffusionHandle, layer: str, examples: Sequence[Example], how: SamplerSettings, seed: int
) -> tuple[Float[Tensor, "prompt step cell width"], Tensor]:
    """A layer's outputs for the prompts' half of the batch at every step of sampling them once, and the times."""
    texts, steps = [str(e.prompt) for e in examples], []
    asked = [Request(text, derive(seed, e.key)) for text, e in zip(texts, examples, strict=True)]
    noise = torch.stack([initial_noise(r, how, handle.latent_shape(how.size_px)) for r in asked]).to(handle.device)
    solver = handle.schedule.solver(how.scheduler, how.steps)
    pair = (handle.encode(texts), handle.unconditional([how.negative] * len(texts)))

    def keep(module: nn.Module, inputs: Any, output: Any) -> None:
        steps.append(cells(first(output)[-len(texts) :]))

    hook = handle.denoiser.get_submodule(layer).register_forward_hook(keep)
    try:
        for _ in walk(handle, solver, noise, pair, how.scale):
            pass
    finally:
        hook.remove()
    return torch.stack(steps, 1), solver.times


def chosen_layer(handle: DiffusionHandle, name: str | None) -> str:
    """Path of the layer inside the denoiser. Raises UserError for an unknown one and for transformers."""
    blocks = [path for path, m in handle.denoiser.named_modules() if type(m).__name__ == "Transformer2DModel"]
    if not blocks:
        raise UserError(f"saeuron: reads a U-Net's attention blocks, which {handle.family.name} has none of.")
    if name is None:
        return DEFAULT_LAYER if DEFAULT_LAYER in blocks else blocks[-1]
    if name not in blocks:
        raise UserError(f"method[saeuron].layer: {name!r} is no attention block. {near_miss(name, blocks)}")
    return name


def grouped(concept: Sequence[Example], anchors: Sequence[Example]) -> list[str]:
    """The concept that each example belongs to: its phrase, or for anchors the style or object of their tags, whichever
    of the two the phrases name ("" where they name neither)."""
    words = {e.tags.get("phrase", "") for e in concept}
    named = [key for key in ("style", "object") for e in concept if e.tags.get(key, "").replace("_", " ") in words]
    others = [e.tags.get(named[0], "").replace("_", " ") if named else "" for e in anchors]
    return [*(e.tags.get("phrase", "") for e in concept), *others]


def first(output: Any) -> Tensor:
    """The tensor among a layer's outputs."""
    return output[0] if isinstance(output, tuple) else output


def cells(x: Float[Tensor, "batch width height across"]) -> Float[Tensor, "batch cell width"]:
    """A feature map as rows."""
    return x.flatten(2).mT


def scores(concept: Float[Tensor, "step feature"], others: Float[Tensor, "step feature"]) -> Tensor:
    """Difference of each feature's share of a step's total activation."""
    return concept / (concept.sum(-1, keepdim=True) + 1e-8) - others / (others.sum(-1, keepdim=True) + 1e-8)


def choose(
    means: Mapping[str, Float[Tensor, "step feature"]], words: Sequence[str], percentile: float, multiplier: float
) -> Ablation:
    """What to turn down for the phrases `words`, from the mean activations of every concept."""
    limit = torch.stack(list(means.values())).mean(0)
    parts = []
    for word in words:
        others = torch.stack([m for name, m in means.items() if name != word]).mean(0)
        score = scores(means[word], others)
        cut = torch.quantile(score.double(), percentile / 100, dim=-1, keepdim=True)
        steps, features = torch.nonzero(score > cut, as_tuple=True)
        parts.append(Ablation(steps, features, multiplier * means[word][steps, features], limit[steps, features]))
    return Ablation(*(torch.cat(column) for column in zip(*parts, strict=True)))


class FeatureGuard(Guard):
    """Turns features down in a layer's output, in both halves of the batch."""

    method: ClassVar[str] = "saeuron"

    def __init__(self, layer: str, model: Autoencoder, ablation: Ablation, times: Tensor, how: tuple[int, str]):
        self.layer, self.model, self.ablation, self.times = layer, model, ablation, times
        self.k, self.error = how
        self._step = 0

    def facts(self) -> Mapping[str, Any]:
        """Layer, k and the way of the error."""
        return {"layer": self.layer, "k": self.k, "error": self.error}

    def tensors(self) -> Mapping[str, Tensor]:
        """The autoencoder, what is turned down, and the times of the steps."""
        return {**self.model._asdict(), **self.ablation._asdict(), "times": self.times}

    def at_step(self, handle: DiffusionHandle, step: GuardStep, latents: Tensor, condition: Condition) -> Condition:
        """Notes which of the stored times is nearest."""
        self._step = int((self.times - float(step.t)).abs().argmin())
        return condition

    def hooks(self, handle: DiffusionHandle, texts: Sequence[str]) -> AbstractContextManager[Any]:
        """The layer's output is changed while open."""
        stack = ExitStack()
        module: nn.Module = handle.denoiser.get_submodule(self.layer)
        stack.callback(module.register_forward_hook(self._hook).remove)
        return stack

    def _hook(self, module: nn.Module, inputs: Any, output: Any) -> Any:
        x = first(output)
        made = self.changed(cells(x)).mT.reshape(x.shape).to(x.dtype)
        return (made, *output[1:]) if isinstance(output, tuple) else made

    def changed(self, x: Float[Tensor, "batch cell width"]) -> Float[Tensor, "batch cell width"]:
        """Rows of the layer's output with the present step's features turned down."""
        model = Autoencoder(*(part.to(x.device) for part in self.model))
        now = self.ablation.steps == self._step
        features = self.ablation.features[now].to(x.device)
        z = model.encode(x.float(), self.k)
        less = z.clone()
        for i, feature in enumerate(features.tolist()):
            own = z[..., feature]
            factor, limit = self.ablation.factors[now][i].to(x.device), self.ablation.limits[now][i].to(x.device)
            less[..., feature] = torch.where(own > limit, own * factor, own)
        whole, ablated = model.decode(z), model.decode(less)
        return ablated + (x - whole if self.error == "intended" else whole - x)


def restore(facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> FeatureGuard:
    """The guard that `facts` and `tensors` describe."""
    model = Autoencoder(*(tensors[name] for name in Autoencoder._fields))
    ablation = Ablation(*(tensors[name] for name in Ablation._fields))
    return FeatureGuard(facts["layer"], model, ablation, tensors["times"], (int(facts["k"]), facts["error"]))
