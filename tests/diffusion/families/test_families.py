"""Each family made small from scratch: pictures equal those of the plain diffusers pipeline over the same weights."""

import numpy as np
import pytest
import torch
from mmunlearn.diffusion.families.find import family_named, family_of
from mmunlearn.diffusion.families.flux import packed, positions, unpacked
from mmunlearn.diffusion.handle import DiffusionHandle
from mmunlearn.diffusion.sampler import Request, sample
from mmunlearn.diffusion.settings import SamplerSettings

from mmunlearn.errors import UserError

SIZE_PX = 16
TEXT = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
ENCODERS = {"sd": 1, "sdxl": 2, "sd3": 2, "flux": 1}
PROMPTS = ("A Dogs image in Van Gogh style.", "a red boat")
SEED = 188


def small(name: str, scheduler: dict | None = None) -> DiffusionHandle:
    names = [f"text_encoder{suffix}" for suffix in ("", "_2")[: ENCODERS[name]]]
    content = {"name": f"scratch/{name}", "size_px": SIZE_PX, "architecture": dict.fromkeys(names, TEXT)}
    content["architecture"] |= {"scheduler": scheduler} if scheduler else {}
    return DiffusionHandle(content, 0)


def plain_picture(handle: DiffusionHandle, prompt: str, steps: int, scale: float) -> np.ndarray:
    """What diffusers makes of the same weights, prompt and seed; uint8 (height, width, 3)."""
    pipe = handle.parts.pipeline()
    if not handle.family.flow:
        from diffusers import DDIMScheduler

        pipe.scheduler = DDIMScheduler.from_config(handle.parts.scheduler[1])
    options = {"max_sequence_length": 16} if handle.family.flow else {}
    made = pipe(
        prompt, num_inference_steps=steps, guidance_scale=scale, height=SIZE_PX, width=SIZE_PX, output_type="np",
        generator=torch.Generator().manual_seed(SEED), **options,
    )  # fmt: skip
    return (made.images[0] * 255).round().astype(np.int64)


@pytest.mark.parametrize("name", ["sd", "sdxl", "sd3"])
@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_pictures_are_those_of_plain_diffusers(name, scale):
    handle = small(name)
    how = SamplerSettings(steps=4, scale=scale, latents="shared", scheduler="flow" if handle.family.flow else "ddim")
    ours = [picture for _, picture in sample(handle, [Request(prompt, SEED) for prompt in PROMPTS], how)]
    for prompt, picture in zip(PROMPTS, ours, strict=True):
        other = plain_picture(handle, prompt, 4, scale)
        assert np.abs(picture.permute(1, 2, 0).numpy().astype(np.int64) - other).max() <= 1


@pytest.mark.parametrize("scheduler", [{}, {"use_dynamic_shifting": True}])
def test_flux_pictures_are_those_of_plain_diffusers(scheduler):
    handle = small("flux", scheduler)
    # FLUX's pipeline draws its noise in (batch, channel, height, width) before packing it, as the sampler does.
    how = SamplerSettings(steps=4, scale=1.0, latents="shared", scheduler="flow")
    ((_, ours),) = sample(handle, [Request(PROMPTS[0], SEED)], how)
    other = plain_picture(handle, PROMPTS[0], 4, 1.0)
    assert np.abs(ours.permute(1, 2, 0).numpy().astype(np.int64) - other).max() <= 1


def test_a_guidance_distilled_flux_takes_the_scale_as_an_input():
    content = {
        "name": "scratch/flux", "size_px": SIZE_PX,
        "architecture": {"text_encoder": TEXT, "denoiser": {"guidance_embeds": True}},
    }  # fmt: skip
    handle = DiffusionHandle(content, 0)
    condition, empty = handle.encode(["a boat"]), handle.encode([""])
    latents = torch.randn(1, *handle.latent_shape(), generator=torch.Generator().manual_seed(0))
    t = torch.tensor([300.0])
    with torch.no_grad():
        guided = handle.guided(latents, t, condition, empty, 3.5)
        assert torch.equal(handle.predict(latents, t, condition, 3.5), guided)
        assert not torch.allclose(handle.predict(latents, t, condition, 1.0), guided)


def test_packing_is_reversible_and_row_major():
    latents = torch.arange(2 * 3 * 4 * 6).reshape(2, 3, 4, 6).float()
    tokens = packed(latents)
    assert (2, 6, 12) == tuple(tokens.shape)
    assert torch.equal(latents, unpacked(tokens, 4, 6))
    second = latents[0, :, 0:2, 2:4].reshape(3, 4)
    assert torch.equal(second.flatten(), tokens[0, 1])
    assert [[0, 0, 0], [0, 0, 1], [0, 0, 2], [0, 1, 0]] == positions(2, 3)[:4].tolist()


def test_sdxl_treats_the_empty_prompt_as_zeros_and_others_do_not():
    xl, sd = small("sdxl"), small("sd")
    made = xl.unconditional(["", "blurry"])
    assert not made.states[0].any() and not made.pooled[0].any()
    assert torch.equal(xl.encode(["blurry"]).states[0], made.states[1])
    assert torch.equal(sd.encode([""]).states, sd.unconditional([""]).states)


@pytest.mark.parametrize("name", ["sd", "sdxl", "sd3", "flux"])
def test_context_layers_and_groups_name_what_reads_the_prompt(name):
    handle = small(name)
    layers = [layer for layer, _ in handle.context_layers()]
    if handle.family.joint:
        assert "denoiser.context_embedder" in layers
        assert (name == "flux") == ("denoiser.time_text_embed.text_embedder.linear_1" in layers)
    else:
        assert layers and all(layer.endswith((".attn2.to_k", ".attn2.to_v")) for layer in layers)
        width = handle.encode(["x"]).states.shape[-1]
        assert all(module.in_features == width for _, module in handle.context_layers())
    groups = {role: {n for n, _ in handle.trainable(role)} for role in handle.family.groups}
    assert groups["xattn_kv"] and groups["selfattn"]
    assert not groups["xattn"] & groups["noxattn"]
    assert groups["denoiser"] == groups["xattn"] | groups["noxattn"]
    assert groups["all"] == groups["denoiser"] | groups["text_encoder"]
    assert not any(n.startswith("vae") for n in groups["all"])
    assert groups["denoiser"] == {n for n, _ in handle.trainable()}


def test_unknown_families_and_pipelines_are_refused():
    with pytest.raises(UserError, match=r"sdxl"):
        family_named("sdx")
    with pytest.raises(UserError, match=r"KandinskyPipeline.*StableDiffusionPipeline"):
        family_of("KandinskyPipeline", "folder")
