import json

import numpy as np
import pytest
import torch
from mmunlearn.diffusion import storage
from mmunlearn.diffusion.guard import Guard
from mmunlearn.diffusion.handle import DiffusionHandle
from mmunlearn.diffusion.sampler import Request, sample
from mmunlearn.diffusion.settings import SamplerSettings
from mmunlearn.diffusion.toy import ARCHITECTURE, toy_handle
from safetensors.torch import load_file, save_file

from mmunlearn.errors import UserError
from mmunlearn.handle import weights_digest

HOW = SamplerSettings(steps=3, scale=2.0, latents="shared")
LEARNED = {"vae": "learned", "architecture": {"text_encoder": ARCHITECTURE["text_encoder"]}}


def picture(handle):
    ((_, made),) = sample(handle, [Request("a boat", 5)], HOW)
    return made.permute(1, 2, 0).numpy().astype(int)


def plain(pipe):
    from diffusers import DDIMScheduler

    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    generator = torch.Generator().manual_seed(5)
    made = pipe(
        "a boat", num_inference_steps=3, guidance_scale=2.0, height=16, width=16, output_type="np", generator=generator
    )
    return (made.images[0] * 255).round()


def change(handle, pattern):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in handle.trainable(pattern):
            if name.endswith("weight"):
                parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return handle


@pytest.fixture
def original(tmp_path):
    toy_handle(**LEARNED).save(tmp_path / "original")
    return tmp_path / "original"


def test_only_changed_tensors_are_stored(original, tmp_path):
    handle = change(DiffusionHandle.load(original), "xattn_kv")
    handle.save(tmp_path / "edited")
    wanted = {name for name, _ in handle.trainable("xattn_kv")}
    assert wanted == set(load_file(tmp_path / "edited" / storage.CHANGED))
    assert {"handle.json", storage.CHANGED} == {file.name for file in (tmp_path / "edited").iterdir()}
    size = {f: sum(p.stat().st_size for p in f.rglob("*")) for f in (original, tmp_path / "edited")}
    assert size[tmp_path / "edited"] < size[original] / 20
    twin = DiffusionHandle.load(tmp_path / "edited")
    assert weights_digest(handle.module) == weights_digest(twin.module)
    assert np.array_equal(picture(handle), picture(twin))


def test_an_unchanged_model_stores_no_tensors(original, tmp_path):
    DiffusionHandle.load(original).save(tmp_path / "same")
    assert {} == load_file(tmp_path / "same" / storage.CHANGED)
    again = DiffusionHandle.load(tmp_path / "same")
    assert weights_digest(DiffusionHandle.load(original).module) == weights_digest(again.module)


def test_a_second_change_lies_on_the_same_base(original, tmp_path):
    change(DiffusionHandle.load(original), "xattn_kv").save(tmp_path / "one")
    two = change(DiffusionHandle.load(tmp_path / "one"), "selfattn")
    two.save(tmp_path / "two")
    assert "../original" == json.loads((tmp_path / "two/handle.json").read_text())["base"]["folder"]
    assert weights_digest(two.module) == weights_digest(DiffusionHandle.load(tmp_path / "two").module)
    (tmp_path / "moved").mkdir()
    (tmp_path / "original").rename(tmp_path / "moved/original")
    (tmp_path / "two").rename(tmp_path / "moved/two")
    assert weights_digest(two.module) == weights_digest(DiffusionHandle.load(tmp_path / "moved/two").module)


def test_another_base_is_refused(original, tmp_path):
    change(DiffusionHandle.load(original), "xattn_kv").save(tmp_path / "edited")
    weights = original / "pipeline/unet/diffusion_pytorch_model.safetensors"
    content = load_file(weights)
    content["conv_in.bias"] = content["conv_in.bias"] + 1
    save_file(content, weights, {"format": "pt"})
    with pytest.raises(UserError, match="another state"):
        DiffusionHandle.load(tmp_path / "edited")


def test_a_base_that_is_gone_is_named(original, tmp_path):
    DiffusionHandle.load(original).save(tmp_path / "edited")
    original.rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="not there"):
        DiffusionHandle.load(tmp_path / "edited")


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("denoiser.conv_in.bias", torch.full((24,), float("nan")), "not finite"),
        ("denoiser.conv_in.bias", torch.zeros(3), "another shape"),
        ("denoiser.nothing", torch.zeros(3), "unknown"),
    ],
)
def test_damaged_changes_are_refused(tmp_path, name, tensor, message):
    toy_handle().save(tmp_path / "original")
    DiffusionHandle.load(tmp_path / "original").save(tmp_path / "edited")
    description = json.loads((tmp_path / "edited/handle.json").read_text())
    (tmp_path / "edited/handle.json").write_text(json.dumps(description | {"changed": [name]}))
    save_file({name: tensor}, tmp_path / "edited" / storage.CHANGED)
    with pytest.raises(UserError, match=message):
        DiffusionHandle.load(tmp_path / "edited")
    (tmp_path / "edited" / storage.CHANGED).write_bytes(b"no tensors")
    with pytest.raises(UserError, match="cannot be read"):
        DiffusionHandle.load(tmp_path / "edited")
    save_file({}, tmp_path / "edited" / storage.CHANGED)
    with pytest.raises(UserError, match="lists"):
        DiffusionHandle.load(tmp_path / "edited")


def test_a_diffusers_folder_by_name_is_a_base_too(original, tmp_path):
    settings = {"name": str(original / "pipeline"), "size_px": 16}
    handle = change(DiffusionHandle(settings), "xattn_kv")
    handle.save(tmp_path / "edited")
    assert (tmp_path / "edited" / storage.CHANGED).is_file()
    twin = DiffusionHandle.load(tmp_path / "edited")
    assert weights_digest(handle.module) == weights_digest(twin.module)
    assert weights_digest(DiffusionHandle(settings).module) == weights_digest(twin.fresh(3).module)


def test_an_exported_pipeline_gives_the_same_picture_in_plain_diffusers(original, tmp_path):
    from diffusers import StableDiffusionPipeline

    handle = change(DiffusionHandle.load(original), "xattn")
    handle.export(tmp_path / "plain")
    pipe = StableDiffusionPipeline.from_pretrained(tmp_path / "plain", safety_checker=None)
    assert np.abs(picture(handle) - plain(pipe)).max() <= 1


@pytest.mark.parametrize("role", ["xattn_kv", "selfattn"])
def test_an_exported_lora_gives_the_same_picture_in_plain_diffusers(original, tmp_path, role):
    from diffusers import StableDiffusionPipeline

    handle = change(DiffusionHandle.load(original), role)
    handle.export(tmp_path / "lora", form="lora")
    pipe = StableDiffusionPipeline.from_pretrained(original / "pipeline", safety_checker=None)
    before = plain(pipe)
    pipe.load_lora_weights(tmp_path / "lora")
    after = plain(pipe)
    assert np.abs(picture(handle) - after).max() <= 1
    assert np.abs(before - after).max() > 1


@pytest.mark.parametrize("shape", [(6, 4), (3, 8), (4, 2, 3, 3)])
def test_factors_multiply_to_the_change(shape):
    change = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    up, down = storage.factors(change, None)
    assert torch.allclose(change.flatten(1), up.flatten(1) @ down.flatten(1), atol=1e-5)
    one, other = storage.factors(torch.outer(torch.arange(4.0), torch.arange(3.0)), None)
    assert (4, 1) == tuple(one.shape) and (1, 3) == tuple(other.shape)
    assert 2 == storage.factors(change, 2)[0].shape[1]


def test_what_fits_no_lora_is_refused(original, tmp_path):
    handle = DiffusionHandle.load(original)
    with torch.no_grad():
        handle.denoiser.conv_in.bias += 1
    with pytest.raises(UserError, match=r"denoiser.conv_in.bias"):
        handle.export(tmp_path / "lora", form="lora")
    with pytest.raises(UserError, match="never stored"):
        toy_handle().export(tmp_path / "lora", form="lora")
    with pytest.raises(UserError, match="form"):
        handle.export(tmp_path / "x", form="onnx")


def test_rearranged_pixels_export_as_latents_that_one_line_turns_into_the_picture(tmp_path):
    from diffusers import StableDiffusionPipeline

    handle = toy_handle(vae="unshuffle", architecture={**ARCHITECTURE, "scheduler": {}})
    handle.export(tmp_path / "plain")
    pipe = StableDiffusionPipeline.from_pretrained(tmp_path / "plain", safety_checker=None, vae=None)
    pipe.set_progress_bar_config(disable=True)
    latents = pipe(
        "a boat", num_inference_steps=3, guidance_scale=2.0, height=64, width=64, output_type="latent",
        generator=torch.Generator().manual_seed(5),
    ).images  # fmt: skip
    pixels = torch.nn.functional.pixel_shuffle(latents, 2)[0].permute(1, 2, 0)
    made = ((pixels / 2 + 0.5).clamp(0, 1) * 255).round().numpy()
    assert np.abs(picture(handle) - made).max() <= 1


class Stored(Guard):
    """A guard with a setting and a tensor."""

    method = "as_given"

    def __init__(self, scale, bias):
        self.scale, self.bias = scale, bias

    def facts(self):
        return {"scale": self.scale}

    def tensors(self):
        return {"bias": self.bias}


def test_a_guard_is_stored_beside_the_weights_and_changes_the_digest(original, tmp_path, monkeypatch):
    import mmunlearn.methods.as_given as file

    monkeypatch.setattr(file, "restore", lambda facts, tensors: Stored(facts["scale"], tensors["bias"]), raising=False)
    handle = DiffusionHandle.load(original)
    bare = handle.digest()
    handle.guard = Stored(3, torch.ones(2))
    handle.save(tmp_path / "guarded")
    twin = DiffusionHandle.load(tmp_path / "guarded")
    assert isinstance(twin.guard, Stored) and 3 == twin.guard.scale and torch.equal(torch.ones(2), twin.guard.bias)
    assert bare != handle.digest() == twin.digest()
    assert handle.beside_weights() != DiffusionHandle.load(original).beside_weights()
    with pytest.raises(UserError, match="guard"):
        handle.export(tmp_path / "plain")
