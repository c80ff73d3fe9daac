"""Small pipelines with newly initialised weights and real tokenizers: what minis, demos and tests train."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from mmunlearn.errors import UserError, near_miss
from mmunlearn.seeds import derive
from mmunlearn.settings import merge

from .families.find import family_named
from .latents import Unshuffle
from .parts import Parts, PipelineModule
from .settings import DiffusionSettings
from .tokenizers_offline import MAX_LENGTH, clip_tokenizer, letters_tokenizer

PREFIX = "scratch/"
T5_LENGTH = 16  # letters of a prompt that small T5 encoders see, unless the settings say another
T5_VOCABULARY = 96
WORD_WEIGHT = 4.0
LEARNED_CHANNELS, UNSHUFFLED_CHANNELS = 4, 12

_TEXT = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
_T5 = {"d_model": 64, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2}
_VAE = {"block_out_channels": (16, 32), "norm_num_groups": 8}
_UNET = {
    "block_out_channels": (32, 64), "layers_per_block": 1, "attention_head_dim": 8, "norm_num_groups": 8,
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
}  # fmt: skip
_TRANSFORMER = {"num_layers": 1, "attention_head_dim": 16, "num_attention_heads": 2}
_DDPM = {
    "num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
    "clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1, "prediction_type": "epsilon",
}  # fmt: skip

# What `architecture` is laid over; every key is a part's own settings in the words of diffusers and transformers.
DEFAULTS: dict[str, dict[str, dict[str, Any]]] = {
    "sd": {"denoiser": _UNET, "text_encoder": _TEXT, "vae": {}, "scheduler": _DDPM},
    "sdxl": {
        "denoiser": {**_UNET, "addition_time_embed_dim": 8, "use_linear_projection": True},
        "text_encoder": _TEXT, "text_encoder_2": _TEXT, "vae": {}, "scheduler": _DDPM,
    },
    "sd3": {
        "denoiser": _TRANSFORMER, "text_encoder": _TEXT, "text_encoder_2": _TEXT, "text_encoder_3": _T5, "vae": {},
        "scheduler": {"shift": 3.0},
    },
    "flux": {
        "denoiser": {**_TRANSFORMER, "num_single_layers": 1, "axes_dims_rope": (4, 4, 8)}, "text_encoder": _TEXT,
        "text_encoder_2": _T5, "vae": {}, "scheduler": {"shift": 1.0},
    },
}  # fmt: skip


def make_parts(settings: DiffusionSettings, seed: int) -> Parts:
    """Parts of "scratch/<family>", on the CPU in evaluation mode; weights are a function of the seed.

    Raises UserError for an unknown family or part, and for sizes that make no model.
    """
    family = family_named(settings.name.removeprefix(PREFIX))
    defaults = DEFAULTS[family.name]
    unknown = sorted(set(settings.architecture) - set(defaults))
    if unknown:
        raise UserError(f"model.architecture.{unknown[0]}: is unknown. {near_miss(unknown[0], defaults)}")
    sizes = merge(defaults, settings.architecture)
    # Constructors draw from torch's global generator; it is put back as it was.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "init"))
        try:
            made = _BUILDERS[family.name](sizes, settings)
        except (TypeError, ValueError, KeyError, AttributeError, RuntimeError, IndexError, ZeroDivisionError) as error:
            first = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            raise UserError(f"model.architecture: makes no {family.name} model ({first}).") from None
        made["vae"] = _vae(sizes, settings, shifted=family.flow)
    module = PipelineModule(made).to(getattr(torch, settings.dtype)).eval()
    kinds = {"sd": "DDIMScheduler", "sdxl": "EulerDiscreteScheduler"}
    scheduler = (kinds.get(family.name, "FlowMatchEulerDiscreteScheduler"), dict(sizes["scheduler"]))
    facts = {"force_zeros_for_empty_prompt": True} if family.name == "sdxl" else {}
    tokenizers = tuple(_tokenizer(module[encoder], settings) for encoder, _ in family.encoders)
    return Parts(family, module, tokenizers, scheduler, facts)


def _tokenizer(encoder: Any, settings: DiffusionSettings) -> Any:
    if encoder.config.model_type == "t5":
        return letters_tokenizer(settings.text_length or T5_LENGTH)
    return clip_tokenizer(encoder.config.max_position_embeddings)


def _channels(settings: DiffusionSettings) -> int:
    return UNSHUFFLED_CHANNELS if settings.vae == "unshuffle" else LEARNED_CHANNELS


def _cells(settings: DiffusionSettings) -> int:
    return settings.size_px // 2


def _vae(sizes: dict[str, Any], settings: DiffusionSettings, *, shifted: bool) -> nn.Module:
    from diffusers import AutoencoderKL

    if settings.vae == "unshuffle":
        return Unshuffle(**sizes["vae"])
    content: dict[str, Any] = {**_VAE, "latent_channels": LEARNED_CHANNELS, "sample_size": settings.size_px}
    if shifted:
        content |= {"use_quant_conv": False, "use_post_quant_conv": False, "shift_factor": 0.0609}
    content |= sizes["vae"]
    n = len(content["block_out_channels"])
    content |= {"down_block_types": ("DownEncoderBlock2D",) * n, "up_block_types": ("UpDecoderBlock2D",) * n}
    vae: Any = AutoencoderKL(**content)  # Any, as below: type checkers see diffusers' stand-ins, which are no modules
    return vae.requires_grad_(False)


def _clip(sizes: dict[str, Any], *, projected: bool) -> nn.Module:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=49408, bos_token_id=49406, eos_token_id=49407, pad_token_id=1,
        **{"projection_dim": sizes["hidden_size"], "max_position_embeddings": MAX_LENGTH, **sizes},
    )  # fmt: skip
    made = (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)
    # Nobody trains this encoder before a denoiser must tell its words apart: they outweigh their positions.
    with torch.no_grad():
        made.get_input_embeddings().weight.mul_(WORD_WEIGHT)  # type: ignore[operator]  # Tensor or Module
    return made


def _t5(sizes: dict[str, Any]) -> nn.Module:
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(T5Config(vocab_size=T5_VOCABULARY, **sizes))


def _unet(sizes: dict[str, Any], settings: DiffusionSettings, **more: Any) -> nn.Module:
    from diffusers import UNet2DConditionModel

    channels = _channels(settings)
    content = {"sample_size": _cells(settings), "in_channels": channels, "out_channels": channels, **more}
    denoiser: Any = UNet2DConditionModel(**{**content, **sizes["denoiser"]})
    return denoiser


def _sd(sizes: dict[str, Any], settings: DiffusionSettings) -> dict[str, nn.Module]:
    width = sizes["text_encoder"]["hidden_size"]
    denoiser = _unet(sizes, settings, cross_attention_dim=width)
    return {"denoiser": denoiser, "text_encoder": _clip(sizes["text_encoder"], projected=False)}


def _sdxl(sizes: dict[str, Any], settings: DiffusionSettings) -> dict[str, nn.Module]:
    one, two = sizes["text_encoder"], sizes["text_encoder_2"]
    pooled = two.get("projection_dim", two["hidden_size"])
    denoiser = _unet(
        sizes, settings, cross_attention_dim=one["hidden_size"] + two["hidden_size"], addition_embed_type="text_time",
        projection_class_embeddings_input_dim=6 * sizes["denoiser"]["addition_time_embed_dim"] + pooled,
    )  # fmt: skip
    return {
        "denoiser": denoiser, "text_encoder": _clip(one, projected=False), "text_encoder_2": _clip(two, projected=True),
    }  # fmt: skip


def _sd3(sizes: dict[str, Any], settings: DiffusionSettings) -> dict[str, nn.Module]:
    from diffusers import SD3Transformer2DModel

    one, two, words = (sizes[f"text_encoder{n}"] for n in ("", "_2", "_3"))
    wide = one["hidden_size"] + two["hidden_size"]
    if words["d_model"] < wide:
        words = {**words, "d_model": wide}  # CLIP's states are padded to T5's width
    shape = sizes["denoiser"]
    channels = _channels(settings)
    denoiser: Any = SD3Transformer2DModel(
        **{
            "sample_size": _cells(settings), "patch_size": 1, "in_channels": channels, "out_channels": channels,
            "joint_attention_dim": words["d_model"],
            "caption_projection_dim": shape["attention_head_dim"] * shape["num_attention_heads"],
            "pooled_projection_dim": sum(p.get("projection_dim", p["hidden_size"]) for p in (one, two)),
            "pos_embed_max_size": _cells(settings), **shape,
        }
    )  # fmt: skip
    return {
        "denoiser": denoiser, "text_encoder": _clip(one, projected=True), "text_encoder_2": _clip(two, projected=True),
        "text_encoder_3": _t5(words),
    }  # fmt: skip


def _flux(sizes: dict[str, Any], settings: DiffusionSettings) -> dict[str, nn.Module]:
    from diffusers import FluxTransformer2DModel

    denoiser: Any = FluxTransformer2DModel(
        **{
            "patch_size": 1, "in_channels": 4 * _channels(settings),
            "joint_attention_dim": sizes["text_encoder_2"]["d_model"],
            "pooled_projection_dim": sizes["text_encoder"]["hidden_size"], **sizes["denoiser"],
        }
    )  # fmt: skip
    return {
        "denoiser": denoiser, "text_encoder": _clip(sizes["text_encoder"], projected=False),
        "text_encoder_2": _t5(sizes["text_encoder_2"]),
    }  # fmt: skip


_BUILDERS: dict[str, Callable[[dict[str, Any], DiffusionSettings], dict[str, nn.Module]]] = {
    "sd": _sd, "sdxl": _sdxl, "sd3": _sd3, "flux": _flux,
}  # fmt: skip
