"""The parts of a diffusers pipeline: read from a folder one by one, put together again for writing."""

import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mmunlearn.errors import UserError

from .families.base import Family
from .families.find import family_of
from .latents import Unshuffle
from .settings import DiffusionSettings


class PipelineModule(nn.ModuleDict):
    """denoiser, text encoders and vae. What is frozen stays in evaluation mode: no dropout in an untrained T5."""

    def train(self, mode: bool = True) -> "PipelineModule":
        """Training mode for the denoiser and for text encoders that are trained."""
        super().train(mode)
        for name, part in self.items():
            if mode and name != "denoiser" and not any(p.requires_grad for p in part.parameters()):
                part.eval()
        return self

    def gradient_checkpointing_enable(self) -> None:
        """Recompute the denoiser's activations in the backward pass."""
        self["denoiser"].enable_gradient_checkpointing()  # type: ignore[operator]


@dataclass
class Parts:
    """module: keys denoiser, the family's text encoders, vae. scheduler: class name and settings. facts: what else the
    pipeline's index says (force_zeros_for_empty_prompt and the like)."""

    family: Family
    module: PipelineModule
    tokenizers: tuple[Any, ...]
    scheduler: tuple[str, dict[str, Any]]
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def encoders(self) -> list[nn.Module]:
        """Text encoders in the family's order."""
        return [self.module[encoder] for encoder, _ in self.family.encoders]

    def pipeline(self) -> Any:
        """The diffusers pipeline over these very modules; a stand-in VAE is left out, so it gives latents only."""
        import diffusers

        name, config = self.scheduler
        vae = self.module["vae"]
        content: dict[str, Any] = {
            self.family.denoiser: self.module["denoiser"],
            "scheduler": getattr(diffusers, name).from_config(config),
            "vae": None if isinstance(vae, Unshuffle) else vae,
        }
        for (encoder, tokenizer), words in zip(self.family.encoders, self.tokenizers, strict=True):
            content |= {encoder: self.module[encoder], tokenizer: words}
        if self.family.name == "sd":
            content |= {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
        content |= {key: value for key, value in self.facts.items() if key in ("force_zeros_for_empty_prompt",)}
        with quiet():
            made = getattr(diffusers, self.family.pipeline)(**content)
        made.set_progress_bar_config(disable=True)
        return made


def read_parts(name: str, settings: DiffusionSettings) -> Parts:
    """Parts of the pipeline in a folder or under a hub id.

    Raises UserError for a folder that is no pipeline, an unsupported pipeline, missing or surplus weights, weights of
    another shape, and numbers that are not finite.
    """
    index = _index(name, settings.revision)
    family = family_of(str(index.get("_class_name")), name)
    module = PipelineModule({"denoiser": _part(name, family.denoiser, index, settings)})
    for encoder, _ in family.encoders:
        module[encoder] = _part(name, encoder, index, settings)
    told = index.get("vae") or [None]
    module["vae"] = _part(name, "vae", index, settings) if told[0] else _stand_in(name, settings)
    tokenizers = tuple(_part(name, tokenizer, index, settings) for _, tokenizer in family.encoders)
    scheduler = _part(name, "scheduler", index, settings)
    facts = {key: value for key, value in index.items() if not isinstance(value, list) and not key.startswith("_")}
    parts = Parts(family, module, tokenizers, (type(scheduler).__name__, _settings_of(scheduler)), facts)
    _check(parts, name)
    return parts


def _settings_of(scheduler: Any) -> dict[str, Any]:
    return {key: value for key, value in scheduler.config.items() if not key.startswith("_")}


def _stand_in(name: str, settings: DiffusionSettings) -> Unshuffle:
    if settings.vae != "unshuffle":
        raise UserError(f"{name}: the pipeline has no vae. Give a complete pipeline in diffusers form.")
    return Unshuffle(**settings.architecture.get("vae", {}))


def _index(name: str, revision: str | None) -> Mapping[str, Any]:
    from diffusers import DiffusionPipeline

    file = Path(name) / "model_index.json"
    if Path(name).exists() and not file.is_file():
        raise UserError(
            f"{name}: is no pipeline in diffusers form (model_index.json is missing).\n"
            "Give a folder with model_index.json, unet or transformer, text_encoder, tokenizer, vae and scheduler."
        )
    try:
        if file.is_file():
            content = json.loads(file.read_text(encoding="utf-8"))
        else:
            content = dict(DiffusionPipeline.load_config(name, revision=revision))
    except (OSError, ValueError) as error:
        raise _unreadable(name, error) from None
    if not isinstance(content, dict):
        raise UserError(f"{file}: damaged. Fetch the model again.")
    return content


def _part(name: str, part: str, index: Mapping[str, Any], settings: DiffusionSettings) -> Any:
    """One component, complete: nothing is initialised silently."""
    told = index.get(part)
    if not isinstance(told, list) or len(told) != 2 or not told[0]:
        raise UserError(f"{name}: model_index.json names no {part}. Give a complete pipeline in diffusers form.")
    library, class_name = told
    if library not in ("diffusers", "transformers"):
        raise UserError(f"{name}: its {part} comes from {library!r}, not from diffusers or transformers; refused.")
    kind = getattr(importlib.import_module(library), str(class_name), None)
    if kind is None:
        raise UserError(f"{name}: its {part} is a {class_name}, which the installed {library} does not have.")
    if Path(name).is_dir() and not (Path(name) / part).is_dir():
        # Some tokenizers would come up empty instead of failing.
        raise UserError(f"model.name: {name}/{part} cannot be loaded (no such folder). Fetch the model again.")
    where: dict[str, Any] = {"subfolder": part, "revision": settings.revision}
    if not issubclass(kind, nn.Module):
        try:
            return kind.from_pretrained(name, **where)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise _unreadable(f"{name}/{part}", error) from None
    dtype = getattr(torch, settings.dtype)
    number = {"torch_dtype" if library == "diffusers" else "dtype": dtype}
    try:
        with quiet():
            module, report = kind.from_pretrained(
                name, **where, **number, use_safetensors=True, output_loading_info=True
            )
    except (OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
        raise _unreadable(f"{name}/{part}", error) from None
    tied = getattr(module, "all_tied_weights_keys", None) or {}
    wrong = [key for key in report.get("missing_keys", ()) if key not in tied]
    wrong += [*report.get("unexpected_keys", ()), *(str(key) for key in report.get("mismatched_keys", ()))]
    if wrong:
        raise UserError(
            f"{name}/{part}: {len(wrong)} weights are missing, unknown or of another shape (first: {wrong[0]}).\n"
            "The weights do not belong to this configuration."
        )
    return module.eval()


def _unreadable(where: str, error: Exception) -> UserError:
    text = str(error).strip()
    first = text.splitlines()[0][:200] if text else type(error).__name__
    return UserError(
        f"model.name: {where} cannot be loaded ({first}).\n"
        "Give a folder in diffusers form with *.safetensors, or a hub id that is reachable."
    )


def _check(parts: Parts, where: str) -> None:
    for name, tensor in parts.module.state_dict().items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise UserError(f"{where}: weight {name} holds values that are not finite. The file is damaged.")


class quiet:
    """Progress bars and hints of diffusers and transformers are silent inside."""

    def __enter__(self) -> None:
        from diffusers.utils import logging as diffusers_logging
        from transformers.utils import logging as transformers_logging

        self.loggers = (diffusers_logging, transformers_logging)
        self.levels = [logger.get_verbosity() for logger in self.loggers]
        self.bars = [logger.is_progress_bar_enabled() for logger in self.loggers]
        for logger in self.loggers:
            logger.set_verbosity_error()
            logger.disable_progress_bar()

    def __exit__(self, *_: object) -> None:
        for logger, level, bar in zip(self.loggers, self.levels, self.bars, strict=True):
            logger.set_verbosity(level)
            if bar:
                logger.enable_progress_bar()
