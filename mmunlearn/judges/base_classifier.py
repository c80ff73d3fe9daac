"""Judges that are image classifiers from local files: a transformers folder, or a timm or torchvision network."""

import json
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from mmunlearn.data import IMAGE_CLASSIFIER, IMAGE_WEIGHTS
from mmunlearn.errors import UserError, near_miss
from mmunlearn.judges.base import UNSCORED, Item, Verdict
from mmunlearn.judges.base_pictures import PictureJudge, PictureSettings, file_identity
from mmunlearn.weights_file import load_strictly, read_weights

SHOWN = 5  # classes in the explanation


class ClassifierSettings(PictureSettings):
    """folder: an image-classification model of transformers; or network ("timm/NAME", "torchvision/NAME") with the
    local file `weights`. wanted: the class that counts; none for that of the example's tag. names: our word for a
    class -> the model's, where they differ. top_k: how many of the likeliest classes count."""

    folder: Annotated[str, IMAGE_CLASSIFIER] = ""
    network: str = ""
    weights: Annotated[str, IMAGE_WEIGHTS] = ""
    wanted: str = ""
    names: dict[str, str] = Field(default_factory=dict)
    top_k: int = Field(1, ge=1)


@dataclass(frozen=True)
class Classifier:
    """A network with what it wants of a picture; `labels` by output."""

    network: Any
    prepare: Any  # PIL picture -> (3, h, w)
    labels: tuple[str, ...]
    logits: Any  # (network, pixels) -> logits

    @torch.inference_mode()
    def probabilities(self, pictures: Sequence[Any]) -> Float[np.ndarray, "n classes"]:
        """Softmax over the classes."""
        pixels = torch.stack([self.prepare(picture) for picture in pictures])
        device = next(self.network.parameters()).device
        return self.logits(self.network, pixels.to(device)).float().softmax(1).cpu().numpy()


class ClassifierJudge(PictureJudge):
    """Value 1: the wanted class is among the `top_k` likeliest. Label: the likeliest class. Explanation: JSON with the
    likeliest classes and the wanted one's rank. Without a wanted class, or with one that the model has not, an item is
    unscored; a wanted class of the settings that the model has not is a UserError."""

    Config = ClassifierSettings  # type: ignore[assignment]
    needs_target = True
    tags: tuple[str, ...] = ()  # where the wanted class stands, the first that the example has

    @abstractmethod
    def labels(self, own: tuple[str, ...], outputs: int) -> tuple[str, ...]:
        """Names of the outputs; own: those that the model's configuration gives."""

    @property
    def offered(self) -> tuple[str, ...]:  # type: ignore[override]
        return self._names

    @property
    def _names(self) -> tuple[str, ...]:
        model = self._model
        return self.labels(model.labels, len(model.labels))

    @property
    def _model(self) -> Classifier:
        return open_classifier(self.config, self.name())

    @property
    def network(self) -> str:
        config = self.config
        if config.folder:
            folder = Path(config.folder)
            parts = [file_identity(file) for file in (folder / "config.json", *sorted(folder.glob("*.safetensors")))]
            return " ".join(parts)
        return f"{config.network} {file_identity(Path(config.weights))}"

    def ready(self) -> None:
        """Raise UserError where the model's files are missing or `wanted` is none of its classes."""
        names = self._names
        for word in filter(None, (self.config.wanted, *self.config.names.values())):
            if self._place(word, names) is None:
                raise UserError(f"judge {self.name()}: the model has no class {word!r}. {near_miss(word, names)}")
        if self.config.top_k > len(names):
            raise UserError(f"judge {self.name()}: top_k is {self.config.top_k}, the model has {len(names)} classes.")

    def asked(self, item: Item) -> str:
        return self.config.wanted or next((item.example.tags[t] for t in self.tags if item.example.tags.get(t)), "")

    def say(self, pictures: Sequence[Any]) -> list[Any]:
        """All probabilities of each picture."""
        return list(self._model.probabilities(pictures))

    def verdict(self, said: Any, item: Item) -> Verdict:
        names, word = self._names, self.asked(item)
        if not word:
            return UNSCORED._replace(explanation=f"no class is asked for (tags {', '.join(self.tags)})")
        place = self._place(word, names)
        if place is None:
            return UNSCORED._replace(explanation=f"the model has no class {word!r}")
        order = np.argsort(-said, kind="stable")
        rank = int(np.flatnonzero(order == place)[0]) + 1
        told = {
            "likeliest": [[names[i], round(float(said[i]), 4)] for i in order[:SHOWN]], "wanted": names[place],
            "rank": rank, "top_k": self.config.top_k, "network": self.network,
        }  # fmt: skip
        return Verdict(float(rank <= self.config.top_k), names[order[0]], json.dumps(told, ensure_ascii=False))

    def _place(self, word: str, names: Sequence[str]) -> int | None:
        wanted = slug(self.config.names.get(word, word))
        return next((place for place, name in enumerate(names) if slug(name) == wanted), None)


def slug(name: str) -> str:
    """A class without case, with "-" for what divides words.

    >>> slug("Vincent van_Gogh")
    'vincent-van-gogh'
    """
    return re.sub(r"[\W_]+", "-", name.casefold()).strip("-")


def open_classifier(config: ClassifierSettings, judge: str) -> Classifier:
    """The classifier of `config`, loaded once a process. Raises UserError naming the setting that is wrong."""
    if config.folder:
        folder = Path(config.folder)
        if not (folder / "config.json").is_file() or not list(folder.glob("*.safetensors")):
            raise UserError(
                f"judge {judge}: {folder} holds no image classifier (config.json and *.safetensors).\n"
                "Give the folder of an image-classification model of transformers in `folder`."
            )
        return _from_folder(str(folder), (folder / "config.json").stat().st_mtime_ns, judge)
    if not config.network or not config.weights:
        raise UserError(
            f"judge {judge}: names no classifier.\nGive folder=DIR (transformers), or network=timm/NAME or "
            "torchvision/NAME and weights=FILE; nothing is downloaded."
        )
    file = Path(config.weights)
    if not file.is_file():
        raise UserError(f"judge {judge}: {file}: no such weights file. Give a .safetensors or .pth file.")
    return _from_file(config.network, str(file), file.stat().st_mtime_ns, judge)


@lru_cache(maxsize=4)
def _from_folder(folder: str, _mtime_ns: int, judge: str) -> Classifier:
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    try:
        model: Any = AutoModelForImageClassification.from_pretrained(
            folder, local_files_only=True, dtype=torch.float32, use_safetensors=True
        )
        processor: Any = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        first = " ".join(str(error).split())[:160]
        raise UserError(f"judge {judge}: {folder} cannot be loaded ({first}).") from None
    names: Mapping[int, str] = {int(key): str(value) for key, value in model.config.id2label.items()}
    labels = tuple(names.get(i, str(i)) for i in range(model.config.num_labels))

    def prepare(picture: Any) -> Tensor:
        return processor(picture, return_tensors="pt")["pixel_values"][0]

    return Classifier(_placed(model), prepare, labels, lambda network, pixels: network(pixel_values=pixels).logits)


@lru_cache(maxsize=4)
def _from_file(network: str, weights: str, _mtime_ns: int, judge: str) -> Classifier:
    library, _, name = network.partition("/")
    tensors = read_weights(Path(weights))
    if library == "timm":
        import timm

        if not timm.is_model(name):
            raise UserError(f"judge {judge}: timm has no network {name!r}. {near_miss(name, timm.list_models())}")
        made = timm.create_model(name, pretrained=False, num_classes=_outputs(tensors, timm_heads(name)))
        facts = timm.data.resolve_model_data_config(made)
        prepare = timm.data.create_transform(**facts, is_training=False)
    elif library == "torchvision":
        import torchvision

        known = torchvision.models.list_models(module=torchvision.models)
        if name not in known:
            raise UserError(f"judge {judge}: torchvision has no network {name!r}. {near_miss(name, known)}")
        made = torchvision.models.get_model(name, num_classes=_outputs(tensors, ("fc.weight", "heads.head.weight")))
        prepare = torchvision.models.get_model_weights(name).DEFAULT.transforms()  # type: ignore[attr-defined]
    else:
        raise UserError(f"judge {judge}: network {network!r} begins neither with timm/ nor with torchvision/.")
    load_strictly(made, tensors, weights, "Set `network` to what the file holds.")
    labels = tuple(str(i) for i in range(_outputs_of(made)))
    return Classifier(_placed(made), prepare, labels, lambda net, pixels: net(pixels))


def timm_heads(name: str) -> tuple[str, ...]:
    """Names of the last layer's weights in a file of a timm network."""
    import timm

    head = timm.get_pretrained_cfg_value(name, "classifier")
    heads = head if isinstance(head, (list, tuple)) else [head] if head else ["fc", "head"]
    return tuple(f"{part}.weight" for part in heads)


def _outputs(tensors: Mapping[str, Tensor], heads: Sequence[str]) -> int:
    return next((int(tensors[head].shape[0]) for head in heads if head in tensors), 1000)


def _outputs_of(network: Any) -> int:
    count = getattr(network, "num_classes", None)
    return int(count) if count else int(list(network.parameters())[-1].shape[0])


def _placed(network: Any) -> Any:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return network.to(device).eval().requires_grad_(False)
