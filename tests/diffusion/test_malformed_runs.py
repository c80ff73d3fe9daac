"""Malformed inputs of a whole run: each ends with exit code 2 in one to four lines, and nothing is half-written."""

import errno
import json
import shutil

import pytest
import torch
from mmunlearn.diffusion.benchmarks.unlearncanvas import Unlearncanvas
from mmunlearn.diffusion.handle import DiffusionHandle
from PIL import Image
from safetensors.torch import load_file, save_file

import mmunlearn.atomic
from mmunlearn.cli import main

MODEL = {"name": "scratch/sd", "vae": "unshuffle", "size_px": 16, **Unlearncanvas.tiny_model}


@pytest.fixture(scope="session")
def sound(tmp_path_factory):
    """A data set, a stored model and an edit of it."""
    base = tmp_path_factory.mktemp("sound")
    Unlearncanvas().build_mini(base / "data", 0, {"styles": 2, "objects": 2, "pictures": 4, "size_px": 16})
    handle = DiffusionHandle(MODEL, 0)
    handle.save(base / "model")
    edited = DiffusionHandle.load(base / "model")
    with torch.no_grad():
        edited.denoiser.conv_in.bias.add_(1.0)
    edited.save(base / "edited")
    return base


@pytest.fixture
def place(sound, tmp_path):
    shutil.copytree(sound, tmp_path / "in")
    return tmp_path / "in"


def words(place, *more):
    return [
        "unlearn", "--out", str(place.parent / "run"), "--quiet", "benchmark.name=unlearncanvas", f"root={place}/data",
        "benchmark.request.kind=style", "benchmark.request.name=Twemoji", "benchmark.seeds=[188]",
        "benchmark.subset.objects=[Dogs,Trees]",
        "benchmark.heads.steps=2", f"start={place}/edited", "method.name=uce", "train.device=cpu",
        "evaluate.decoding.steps=2", *more,
    ]  # fmt: skip


def handle_json(place, **change):
    file = place / "edited/handle.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))


def tensors(place, change):
    file = place / "edited/changed.safetensors"
    content = load_file(file)
    change(content)
    save_file(content, file)


def fill(place, value):
    tensors(place, lambda content: content["denoiser.conv_in.bias"].fill_(value))


def picture(place, content):
    (place / "data/Twemoji/Dogs/1.jpg").write_bytes(content)


def giant(place):
    Image.new("1", (9000, 9000)).save(place / "data/Twemoji/Dogs/1.png")
    (place / "data/Twemoji/Dogs/1.jpg").unlink()


def other_architecture(place):
    other = MODEL | {"architecture": {"denoiser": {"block_out_channels": (8,), "norm_num_groups": 4,
        "attention_head_dim": 4, "mid_block_type": None, "down_block_types": ("CrossAttnDownBlock2D",),
        "up_block_types": ("CrossAttnUpBlock2D",)}}}  # fmt: skip
    shutil.rmtree(place / "model")
    DiffusionHandle(other, 0).save(place / "model")


CASES = {
    "a style under another name": (lambda p: (p / "data/Twemoji").rename(p / "data/Twemojis"), (), "Twemoji"),
    "a missing style": (lambda p: shutil.rmtree(p / "data/Twemoji"), (), "Twemoji"),
    "a missing object": (lambda p: shutil.rmtree(p / "data/Twemoji/Dogs"), (), "Dogs"),
    "an empty object": (lambda p: [f.unlink() for f in (p / "data/Twemoji/Dogs").iterdir()], (), "Dogs"),
    "no data": (lambda p: shutil.rmtree(p / "data"), (), "no such folder"),
    "an unknown style": (None, ("benchmark.request.name=Twemojy",), "Twemojy"),
    "an unknown object": (None, ("benchmark.request.kind=object", "benchmark.request.name=Dragons"), "Dragons"),
    "an unknown kind": (None, ("benchmark.request.kind=colour",), "request.kind"),
    "a repeated seed": (None, ("benchmark.seeds=[188,188]",), "seed"),
    "a corrupt picture": (lambda p: picture(p, b"<html>not found</html>"), ("method.name=grad_ascent",), "1.jpg"),
    "a truncated picture": (
        lambda p: picture(p, (p / "data/Twemoji/Dogs/2.jpg").read_bytes()[:200]), ("method.name=grad_ascent",), "1.jpg",
    ),
    "a giant picture": (giant, ("method.name=grad_ascent",), "1.png"),
    "no start": (lambda p: shutil.rmtree(p / "edited"), (), "edited"),
    "a base that is gone": (lambda p: shutil.rmtree(p / "model"), (), "model"),
    "a base of another architecture": (other_architecture, (), "another state"),
    "weights that are not finite": (lambda p: fill(p, float("nan")), (), "not finite"),
    "infinite weights": (lambda p: fill(p, float("inf")), (), "not finite"),
    "weights of another shape": (
        lambda p: tensors(p, lambda c: c.update({"denoiser.conv_in.bias": torch.zeros(3)})), (), "another shape",
    ),
    "weights that are not listed": (lambda p: tensors(p, lambda c: c.update(more=torch.zeros(1))), (), "lists"),
    "truncated weights": (
        lambda p: (p / "edited/changed.safetensors").write_bytes(b"\x08\0\0\0"), (), "cannot be read",
    ),
    "a model of another modality": (lambda p: handle_json(p, modality="vision"), (), "vision"),
    "a damaged description": (lambda p: (p / "edited/handle.json").write_text("{"), (), "handle.json"),
    "an unknown method": (None, ("method.name=ucee",), "ucee"),
    "an unknown setting of the method": (None, ("method.keeep=1",), "keeep"),
    "an unknown setting of the sampler": (None, ("evaluate.decoding.stepz=1",), "stepz"),
    "another architecture for the start": (None, ("model.vae=learned",), "model.vae"),
    "a size that makes no whole cells": (None, ("model.size_px=17",), "multiple"),
    "a wording that cannot be filled in": (None, ("method.name=esd", "method.wording={colour}"), "colour"),
}  # fmt: skip


def told(capsys, code):
    message = capsys.readouterr().err.strip()
    assert 2 == code, message
    assert "Traceback" not in message
    return message


@pytest.mark.parametrize("name", CASES)
def test_malformed(name, place, capsys, monkeypatch):
    damage, more, fragment = CASES[name]
    monkeypatch.setenv("MMUNLEARN_CACHE", str(place.parent / "cache"))
    if damage is not None:
        damage(place)
    message = told(capsys, main(words(place, *more)))
    assert fragment in message and 1 <= len(message.splitlines()) <= 8  # a few lines may be the log's
    run = place.parent / "run"
    assert not (run / "results.json").exists()
    # What is wrong with the sampler alone is found behind the method, whose model is whole and used again.
    assert fragment == "stepz" or not (run / "model").exists()
    assert not list(place.parent.rglob("*.tmp*"))


def test_a_full_disk_while_sampling_leaves_whole_pictures_and_the_same_command_goes_on(place, capsys, monkeypatch):
    monkeypatch.setenv("MMUNLEARN_CACHE", str(place.parent / "cache"))
    run, fsync, left = place.parent / "run", mmunlearn.atomic.os.fsync, [3]

    def full(descriptor):
        if (run / "images").is_dir():
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(mmunlearn.atomic.os, "fsync", full)
    message = told(capsys, main(words(place)))
    assert "No space left" in message
    pictures = list((run / "images/answers").glob("*.jpg"))
    for file in pictures:
        Image.open(file).load()
    assert not list(run.rglob("*.tmp")) and not (run / "results.json").exists() and (run / "model").is_dir()
    monkeypatch.setattr(mmunlearn.atomic.os, "fsync", fsync)
    before = {file: file.stat().st_mtime_ns for file in pictures}
    assert 0 == main(words(place))
    assert before == {file: file.stat().st_mtime_ns for file in before}
    assert 6 == len(list((run / "images/answers").glob("*.jpg"))) and (run / "results.json").is_file()
