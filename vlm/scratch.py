"""Models by name: published weights from a folder or hub id, or newly initialised small ones ("scratch/<family>")."""

import importlib
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mmunlearn.errors import UserError, near_miss
from mmunlearn.seeds import derive
from mmunlearn.settings import merge

from .settings import VlmSettings

PREFIX = "scratch/"
TOKENIZER = Path(__file__).parent / "data" / "mini_tokenizer.json"


def make_model(settings: VlmSettings, seed: int) -> tuple[Any, Any]:
    """Model (on the CPU, evaluation mode) and processor. Raises UserError when the name gives none."""
    if settings.name.startswith(PREFIX):
        return _scratch(settings, seed)
    return read_folder(settings.name, settings)


def mini_tokenizer() -> Any:
    """The project's own byte-level BPE of 4,096 tokens, with <image>, an end token and padding."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_file=str(TOKENIZER), eos_token="</s>", pad_token="<pad>", unk_token=None,
        additional_special_tokens=["<image>"],
    )  # fmt: skip


def _scratch(settings: VlmSettings, seed: int) -> tuple[Any, Any]:
    family = settings.name.removeprefix(PREFIX)
    known = ("llava", "smollm2", *_with_tiny())
    if family not in known:
        raise UserError(f"model.name: {settings.name!r} is unknown. {near_miss(family, known)}")
    # Constructors draw from torch's global generator; it is put back as it was.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "init"))
        if family == "llava":
            model, processor = _llava(settings.architecture)
        elif family == "smollm2":
            from .smollm2 import smollm2_llava

            model, processor = smollm2_llava(_sizes(settings.architecture)["vision"])
        else:
            model, processor = importlib.import_module(f"{__package__}.families.{family}").tiny(settings.architecture)
        if settings.pretrained_tower:
            from .mini_tower import mini_tower

            tower = model.model.vision_tower
            tower.load_state_dict(mini_tower(tower.config))
    return model.to(_dtype(settings)).eval(), processor


def _with_tiny() -> tuple[str, ...]:
    folder = Path(__file__).parent / "families"
    return tuple(sorted(p.stem for p in folder.glob("[a-z]*.py") if p.stem not in {"base", "find", "llava"}))


LLAVA = {
    "vision": {
        "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4,
        "image_size": 64, "patch_size": 16,
    },
    "text": {
        "hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 2, "num_attention_heads": 8,
        "num_key_value_heads": 8, "max_position_embeddings": 512, "tie_word_embeddings": True,
    },
}  # fmt: skip


def _llava(architecture: dict[str, Any]) -> tuple[Any, Any]:
    """A LLaVA of about 3 million weights: CLIP tower, two-layer projector, Llama decoder with tied embeddings."""
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    sizes = _sizes(architecture)
    tokenizer = mini_tokenizer()
    ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**sizes["vision"]),
        text_config=LlamaConfig(vocab_size=len(tokenizer), **ids, **sizes["text"]),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1, vision_feature_select_strategy="default",
        tie_word_embeddings=sizes["text"]["tie_word_embeddings"],
    )  # fmt: skip
    size = sizes["vision"]["image_size"]
    pictures = CLIPImageProcessor(size={"shortest_edge": size}, crop_size={"height": size, "width": size})
    processor = LlavaProcessor(
        image_processor=pictures, tokenizer=tokenizer, patch_size=sizes["vision"]["patch_size"],
        vision_feature_select_strategy="default", num_additional_image_tokens=1, image_token="<image>",
    )  # fmt: skip
    return LlavaForConditionalGeneration(config), processor


def _sizes(architecture: dict[str, Any]) -> dict[str, Any]:
    """The small LLaVA's sizes with the user's laid over them."""
    unknown = set(architecture) - set(LLAVA)
    if unknown:
        raise UserError(f"model.architecture.{min(unknown)}: is unknown. {near_miss(min(unknown), LLAVA)}")
    return merge(LLAVA, architecture)


def read_folder(name: str, settings: VlmSettings) -> tuple[Any, Any]:
    """Model and processor from a folder or hub id; every weight must be there (nothing is initialised silently)."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    where: dict[str, Any] = {"revision": settings.revision, "trust_remote_code": settings.trust_remote_code}
    try:
        both: Any = AutoModelForImageTextToText.from_pretrained(
            name, dtype=_dtype(settings), output_loading_info=True, use_safetensors=True, **where
        )
        model, told = both
        processor = AutoProcessor.from_pretrained(name, **where)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise UserError(
            f"model.name: {name!r} cannot be loaded ({first}).\n"
            "Give a folder with config.json, *.safetensors and the processor's files, or a hub id that is reachable."
        ) from None
    missing = [key for key in told["missing_keys"] if key not in getattr(model, "all_tied_weights_keys", {})]
    wrong = [*missing, *told["unexpected_keys"], *(str(k) for k in told["mismatched_keys"])]
    if wrong:
        raise UserError(
            f"{name}: {len(wrong)} weights are missing, unknown or of another shape (first: {wrong[0]}).\n"
            "The weights do not belong to this configuration; nothing was evaluated."
        )
    return model.eval(), processor


def _dtype(settings: VlmSettings) -> torch.dtype:
    return getattr(torch, settings.dtype)


def count_weights(model: nn.Module) -> int:
    """Number of parameters."""
    return sum(p.numel() for p in model.parameters())
