"""Folders that are no model, or another one, end in one clear error."""

import json
import shutil

import pytest
import torch
from mmunlearn.diffusion.handle import DiffusionHandle
from mmunlearn.diffusion.toy import ARCHITECTURE, toy_handle
from safetensors.torch import load_file, save_file

from mmunlearn.errors import UserError

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pipeline")
    toy_handle(vae="learned", architecture={"text_encoder": ARCHITECTURE["text_encoder"]}).export(folder / "plain")
    return folder / "plain"


@pytest.fixture
def folder(stored, tmp_path):
    return shutil.copytree(stored, tmp_path / "model")


def index(folder, **change):
    file = folder / "model_index.json"
    content = json.loads(file.read_text()) | change
    file.write_text(json.dumps({key: value for key, value in content.items() if value is not ...}))


def weights(folder, change):
    content = load_file(folder / WEIGHTS)
    change(content)
    save_file(content, folder / WEIGHTS, {"format": "pt"})


def nan(content):
    content["conv_in.weight"][0] = torch.nan


DAMAGE = {
    "no index": (lambda f: (f / "model_index.json").unlink(), "model_index.json is missing"),
    "a broken index": (lambda f: (f / "model_index.json").write_text("{"), "cannot be loaded"),
    "an index that is a list": (lambda f: (f / "model_index.json").write_text("[]"), "damaged"),
    "another pipeline": (lambda f: index(f, _class_name="KandinskyPipeline"), "KandinskyPipeline"),
    "a missing component": (lambda f: index(f, unet=...), "names no unet"),
    "code of a stranger": (lambda f: index(f, unet=["evil", "Model"]), "refused"),
    "an unknown class": (lambda f: index(f, unet=["diffusers", "NoSuchModel"]), "NoSuchModel"),
    "no unet folder": (lambda f: shutil.rmtree(f / "unet"), "unet cannot be loaded"),
    "no tokenizer": (lambda f: shutil.rmtree(f / "tokenizer"), "tokenizer cannot be loaded"),
    "no vae": (lambda f: index(f, vae=[None, None]), "no vae"),
    "numbers that are not finite": (lambda f: weights(f, nan), "not finite"),
    "missing weights": (lambda f: weights(f, lambda c: c.pop("conv_in.weight")), "conv_in.weight"),
    "surplus weights": (lambda f: weights(f, lambda c: c.update(more=torch.zeros(1))), "more"),
    "weights of another shape": (lambda f: weights(f, lambda c: c.update({"conv_in.weight": torch.zeros(1)})), "unet"),
    "a truncated file": (lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes()[:999]), "cannot be loaded"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damaged_folders_end_in_one_clear_error(folder, what):
    damage, message = DAMAGE[what]
    damage(folder)
    with pytest.raises(UserError, match=message) as error:
        DiffusionHandle({"name": str(folder), "size_px": 16})
    assert 1 <= len(str(error.value).splitlines()) <= 4


def test_a_sound_folder_is_read_and_a_name_that_is_nothing_is_refused(folder):
    assert DiffusionHandle({"name": str(folder), "size_px": 16}).base is not None
    with pytest.raises(UserError, match="cannot be loaded"):
        DiffusionHandle({"name": str(folder / "nowhere"), "size_px": 16})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "scratch/sdd"}, "sdd"),
        ({"architecture": {"unet": {}}}, "architecture.unet"),
        ({"architecture": {"denoiser": {"chanels": 3}}}, "architecture"),
        ({"architecture": {"denoiser": {"norm_num_groups": 7}}}, "architecture"),
        ({"size_px": 17}, "multiple"),
        ({"trains": "vae"}, "trains"),
        ({"sise_px": 16}, "size_px"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    content = {"size_px": 16, "architecture": {"text_encoder": ARCHITECTURE["text_encoder"]}} | settings
    with pytest.raises(UserError, match=message) as error:
        DiffusionHandle(content)
    assert 1 <= len(str(error.value).splitlines()) <= 4
