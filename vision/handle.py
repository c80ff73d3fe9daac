"""Handle of image classifiers: one class of K, or several binary labels at once."""

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from mmunlearn.data import Example
from mmunlearn.errors import UserError
from mmunlearn.handle import Batch, Decoding, Family, Handle, Response, Scored, View, read_description
from mmunlearn.settings import Settings, build, plain
from mmunlearn.weights_file import read_weights

from .augment import Augmentation, augment, draws
from .images import ImageTable
from .models import load_weights, make_network


class ClassifierSettings(Settings):
    """A classifier. head: "classes" (softmax over `classes`) or "labels" (that many independent binary labels).

    mean, std: normalisation inside the model (the MUFAC/MUCAC papers use none). weights: a local file to start from.
    """

    name: str = "torchvision/resnet18"
    head: Literal["classes", "labels"] = "classes"
    classes: int = Field(8, ge=1)
    size_px: int = Field(128, ge=8, le=4096)
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    channels_last: bool = True
    weights: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    augmentation: Augmentation = Augmentation()


_TABLES: dict[int, ImageTable] = {}


class VisionHandle(Handle):
    """A timm or torchvision classifier behind the core's verbs; further verbs serve this sibling's own methods."""

    modality: ClassVar[str] = "vision"
    Settings: ClassVar = ClassifierSettings

    def __init__(self, settings: ClassifierSettings | Mapping[str, Any] | None = None, seed: int = 0):
        if not isinstance(settings, ClassifierSettings):
            settings = build(ClassifierSettings, settings or {}, "model")
        self.settings = settings
        self.module = make_network(settings.name, settings.classes, seed=seed, options=settings.options)
        if settings.weights is not None:
            load_weights(self.module, read_weights(Path(settings.weights)), settings.weights)
        if settings.channels_last:
            self.module.to(memory_format=torch.channels_last)
        self.module.eval()
        # One table a size and process: splits, originals and references share decoded pictures.
        self.images = _TABLES.setdefault(settings.size_px, ImageTable(settings.size_px))

    # ---- the core's verbs -------------------------------------------------------------------------------------
    def collate(self, examples: Sequence[Example], view: View | None = None) -> Batch:
        """uint8 pictures, targets (batch, item) and, for training views, the augmentation draws."""
        width = 1 if self.settings.head == "classes" else self.settings.classes
        targets = np.asarray([np.atleast_1d(np.asarray(e.target, dtype=np.int64)) for e in examples])
        if targets.shape != (len(examples), width):
            raise UserError(
                f"{examples[0].id}: target {examples[0].target!r} does not fit a {self.settings.head} head."
            )
        keys = np.asarray([example.key for example in examples], dtype=np.int64)
        tensors = {"image": self.images.rows(examples), "target": torch.from_numpy(targets)}
        if view is not None:
            tensors["draws"] = torch.from_numpy(draws(keys, view))
        count = torch.full((len(examples),), width, dtype=torch.int64)
        return Batch(tuple(example.id for example in examples), tensors, count, view, keys)

    def score(self, batch: Batch) -> Scored:
        """Cross-entropy of the class, or summed binary cross-entropies of the labels."""
        return self.score_inputs(self.inputs(batch), batch)

    @torch.inference_mode()
    def respond(self, examples: Sequence[Example], how: Decoding, seed: int) -> list[Response]:
        """Rows with nll, count, logits, target and the norm of the penultimate features (for the last-layer gradient
        norm); `how.fields["features"]` adds the features themselves."""
        self.module.eval()
        keep = bool(how.fields.get("features"))
        rows: list[Response] = []
        for start in range(0, len(examples), how.batch_size):
            part = examples[start : start + how.batch_size]
            batch = self.collate(part).to(self.device)
            features, logits = self.features_and_logits(self.inputs(batch))
            scored = self._scored(logits, batch)
            nll, shaped = scored.nll.double().tolist(), logits.float().tolist()
            norms = features.float().norm(dim=-1).tolist()
            vectors = features.float().tolist() if keep else None
            for i, example in enumerate(part):
                fields = {
                    "nll": nll[i], "count": int(batch.count[i]), "logits": shaped[i], "feature_norm": norms[i],
                    "target": np.atleast_1d(np.asarray(example.target)).tolist(),
                }  # fmt: skip
                if vectors is not None:
                    fields["features"] = vectors[i]
                rows.append(Response(example.id, fields))
        return rows

    def random_target(self, example: Example, generator: np.random.Generator, *, wrong_only: bool = False) -> Any:
        """A class drawn uniformly or a label vector of fair coins; `wrong_only` excludes the example's own."""
        s = self.settings
        if s.head == "classes":
            if not wrong_only:
                return int(generator.integers(s.classes))
            drawn = int(generator.integers(s.classes - 1))
            return drawn + (drawn >= int(example.target))  # type: ignore[arg-type]
        while True:
            vector = tuple(int(v) for v in generator.integers(0, 2, s.classes))
            if not wrong_only or vector != tuple(np.atleast_1d(np.asarray(example.target))):
                return vector

    def fresh(self, seed: int) -> Self:
        """The same architecture, newly constructed."""
        twin = copy.copy(self)
        twin.module = make_network(self.settings.name, self.settings.classes, seed=seed, options=self.settings.options)
        if self.settings.channels_last:
            twin.module.to(memory_format=torch.channels_last)
        twin.module.to(self.device).eval()
        return twin

    def save(self, path: Path) -> None:
        """weights.safetensors and handle.json in the folder `path`."""
        path.mkdir(parents=True, exist_ok=True)
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in self.module.state_dict().items()}
        save_file(state, path / "weights.safetensors")
        description = {"modality": self.modality, "settings": plain(self.settings) | {"weights": None}}
        (path / "handle.json").write_text(json.dumps(description, indent=1, sort_keys=True), encoding="utf-8")

    @classmethod
    def load(cls, path: Path, device: torch.device | str = "cpu") -> Self:
        """Read what `save` wrote."""
        content = read_description(path, cls.modality)
        handle = cls(build(ClassifierSettings, content.get("settings", {}), str(path / "handle.json")))
        load_weights(handle.module, read_weights(path / "weights.safetensors"), path)
        handle.module.to(device)
        return handle

    # ---- verbs of this sibling --------------------------------------------------------------------------------
    @property
    def family(self) -> Family:
        """Distribution of the outputs."""
        return "categorical" if self.settings.head == "classes" else "bernoulli"

    def inputs(self, batch: Batch) -> Float[Tensor, "batch 3 height width"]:
        """The pictures the network sees, in 0..1, augmented where the batch is a training view."""
        images = batch.tensors["image"].to(torch.float32) / 255
        if batch.view is not None:
            images = augment(images, batch.tensors["draws"].cpu().numpy(), self.settings.augmentation)
        return images.contiguous(memory_format=torch.channels_last) if self.settings.channels_last else images

    def logits(self, inputs: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch item vocab"]:
        """Logits of pictures in 0..1: (batch, 1, classes) or (batch, labels, 1)."""
        return self._shaped(self.module(self._normalised(inputs)))

    def score_inputs(self, inputs: Float[Tensor, "batch 3 height width"], batch: Batch) -> Scored:
        """Score of `inputs` under the batch's targets."""
        return self._scored(self.logits(inputs), batch)

    def features_and_logits(self, inputs: Float[Tensor, "batch 3 height width"]) -> tuple[Tensor, Tensor]:
        """Penultimate features (what the head sees) and logits of one forward pass."""
        seen: list[Tensor] = []
        hook = self.head().register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        try:
            logits = self.logits(inputs)
        finally:
            hook.remove()
        return seen[0].flatten(1), logits

    def features(self, batch: Batch) -> Float[Tensor, "batch width"]:
        """Penultimate features of a batch; differentiable."""
        return self.features_and_logits(self.inputs(batch))[0]

    def head(self) -> nn.Module:
        """The last linear layer."""
        layers = [layer for layer in self.module.modules() if isinstance(layer, (nn.Linear, nn.Conv2d))]
        matching = [layer for layer in layers if getattr(layer, "out_features", None) == self.settings.classes]
        return matching[-1] if matching else layers[-1]

    def blocks(self) -> list[tuple[str, tuple[str, ...]]]:
        """Parameter names by block from input to output: everything before the first stage is "stem", the last block
        is "head". Stages are children called layerN, stages.N, blocks.N, features.N."""
        stages: dict[str, list[str]] = {"stem": []}
        head = next(name for name, layer in self.module.named_modules() if layer is self.head())
        order = []
        for name, _ in self.module.named_parameters():
            stage = "head" if name.startswith(f"{head}.") else _stage(name)
            if stage != "head" and stage not in stages and stage == "stem":
                stage = "stem"
            stages.setdefault(stage, []).append(name)
            if stage not in order:
                order.append(stage)
        order = [stage for stage in order if stage != "head"] + ["head"]
        return [(stage, tuple(stages[stage])) for stage in order if stages.get(stage)]

    def trainable(self, role: str = "default") -> Iterator[tuple[str, nn.Parameter]]:
        """Roles: "default" (all that require gradients), "head"."""
        if role == "head":
            wanted = set(self.blocks()[-1][1])
            yield from ((n, p) for n, p in self.module.named_parameters() if n in wanted)
            return
        yield from super().trainable(role)

    def _normalised(self, inputs: Tensor) -> Tensor:
        s = self.settings
        if s.mean == (0.0, 0.0, 0.0) and s.std == (1.0, 1.0, 1.0):
            return inputs
        mean, std = inputs.new_tensor(s.mean), inputs.new_tensor(s.std)
        return (inputs - mean[:, None, None]) / std[:, None, None]

    def _shaped(self, logits: Tensor) -> Tensor:
        return logits.unsqueeze(1) if self.settings.head == "classes" else logits.unsqueeze(-1)

    def _scored(self, logits: Tensor, batch: Batch) -> Scored:
        target = batch.tensors["target"]
        if self.settings.head == "classes":
            nll = functional.cross_entropy(logits[:, 0].float(), target[:, 0], reduction="none")
        else:
            each = functional.binary_cross_entropy_with_logits(logits[..., 0].float(), target.float(), reduction="none")
            nll = each.sum(-1)
        return Scored(nll, batch.count, logits, None, target, self.family)


def _stage(name: str) -> str:
    parts = name.split(".")
    if parts[0].startswith("layer") and parts[0][5:].isdigit():
        return parts[0]
    if parts[0] in {"stages", "blocks", "features"} and len(parts) > 1 and parts[1].isdigit():
        return f"{parts[0]}.{parts[1]}"
    return "stem" if parts[0] not in {"norm", "head", "fc_norm", "classifier"} else "head"
