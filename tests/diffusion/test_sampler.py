import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from mmunlearn.diffusion import sampler
from mmunlearn.diffusion.guard import Guard
from mmunlearn.diffusion.handle import DiffusionHandle
from mmunlearn.diffusion.sampler import PRESETS, Request, initial_noise, sample, sampler_settings, walk, write_answers
from mmunlearn.diffusion.settings import SamplerSettings
from mmunlearn.diffusion.toy import ARCHITECTURE, toy_handle, toy_splits

from mmunlearn.data import Example
from mmunlearn.errors import UserError

ROOT = Path(__file__).parents[2]
HOW = SamplerSettings(steps=4, scale=3.0)
PROMPTS = ("A Dogs image in Ink style.", "A Trees image in Photo style.")


@pytest.fixture(scope="module")
def handle():
    return toy_handle()


@pytest.fixture
def answers():
    return toy_splits()["answers"].examples


def pictures(handle, requests, how=HOW):
    return torch.stack([picture for _, picture in sample(handle, requests, how)]).int()


def requests(n):
    return [Request(PROMPTS[i % 2], 188 + i // 4) for i in range(n)]


@pytest.mark.parametrize("size", [1, 4, 16])
def test_pictures_do_not_depend_on_the_batch_size(handle, size):
    whole = pictures(handle, requests(16))
    again = pictures(handle, requests(16), HOW.model_copy(update={"batch_size": size}))
    assert (whole - again).abs().max() <= 1  # of 255: rounding of other kernels


def test_pictures_do_not_depend_on_order_or_company(handle):
    asked = requests(6)
    whole = pictures(handle, asked)
    assert (whole.flip(0) - pictures(handle, asked[::-1])).abs().max() <= 1
    assert (whole[4] - pictures(handle, asked[4:5])[0]).abs().max() <= 1
    assert 6 - len(whole.flatten(1).unique(dim=0)) == 2  # requests 2 and 3 repeat 0 and 1


def test_latents_are_keyed_by_seed_and_prompt_or_by_the_seed_alone():
    shape = (2, 4, 4)
    one, other, again = Request("a", 1), Request("b", 1), Request("a", 2)
    per, shared = SamplerSettings(), SamplerSettings(latents="shared")
    assert torch.equal(initial_noise(one, per, shape), initial_noise(replace(one), per, shape))
    assert not torch.equal(initial_noise(one, per, shape), initial_noise(other, per, shape))
    assert not torch.equal(initial_noise(one, per, shape), initial_noise(again, per, shape))
    assert torch.equal(initial_noise(one, shared, shape), initial_noise(other, shared, shape))
    assert torch.equal(
        torch.randn(shape, generator=torch.Generator().manual_seed(1)), initial_noise(one, shared, shape)
    )
    a, b = (Request(prompt, 1, index=7) for prompt in "ab")
    assert torch.equal(initial_noise(a, per, shape), initial_noise(b, per, shape))


@pytest.mark.parametrize("name", ["lms", "pndm", "euler", "ddim"])
def test_every_solver_gives_the_picture_of_diffusers(name):
    import diffusers

    handle = DiffusionHandle({"size_px": 16, "architecture": {"text_encoder": ARCHITECTURE["text_encoder"]}}, 0)
    kinds = {
        "lms": "LMSDiscreteScheduler", "pndm": "PNDMScheduler", "euler": "EulerDiscreteScheduler",
        "ddim": "DDIMScheduler",
    }  # fmt: skip
    pipe = handle.parts.pipeline()
    config = handle.parts.scheduler[1] | ({"skip_prk_steps": True} if name == "pndm" else {})
    pipe.scheduler = getattr(diffusers, kinds[name]).from_config(config)
    made = pipe(
        PROMPTS[0], num_inference_steps=6, guidance_scale=4.0, negative_prompt="blurry", height=16, width=16,
        output_type="np", generator=torch.Generator().manual_seed(5),
    )  # fmt: skip
    how = SamplerSettings(steps=6, scale=4.0, scheduler=name, latents="shared", negative="blurry")
    ours = pictures(handle, [Request(PROMPTS[0], 5)], how)[0].permute(1, 2, 0).numpy()
    assert np.abs(ours - (made.images[0] * 255).round()).max() <= 1


def test_guidance_in_one_pass_equals_two_passes_by_hand(handle):
    condition, empty = handle.encode([PROMPTS[0]]), handle.encode([""])
    latents, t = torch.randn(1, *handle.latent_shape(), generator=torch.Generator().manual_seed(0)), torch.tensor(500)
    with torch.no_grad():
        low, high = handle.predict(latents, t, empty), handle.predict(latents, t, condition)
        guided = handle.guided(latents, t, condition, empty, 9.0)
        assert torch.allclose(low + 9 * (high - low), guided, atol=1e-4)
        assert torch.equal(high, handle.guided(latents, t, condition, empty, 1.0))


def test_a_walk_can_stop_early_and_carries_a_graph(handle):
    condition, empty = handle.encode([PROMPTS[0]]), handle.encode([""])
    noise = torch.randn(1, *handle.latent_shape(), generator=torch.Generator().manual_seed(0)).requires_grad_()
    solver = handle.schedule.solver("ddim", 5)
    walked = list(islice(walk(handle, solver, noise, (condition, empty), 2.0), 3))
    assert [(i, int(solver.times[i])) for i in range(3)] == [(step, int(t)) for step, t, _ in walked]
    (gradient,) = torch.autograd.grad(walked[-1][2].sum(), noise)
    assert gradient.abs().sum() > 0


def test_answers_are_written_in_the_benchmarks_layout_and_not_made_twice(handle, answers, tmp_path, monkeypatch):
    files = write_answers(handle, answers, tmp_path, HOW)
    assert {e.tags["file"] for e in answers} == {file.name for file in files.values()}
    assert "Van_Gogh_Dogs_seed188.jpg" in {file.name for file in tmp_path.iterdir()}
    monkeypatch.setattr(sampler, "_latents", None)  # any further sampling would fail
    assert files == write_answers(handle, answers, tmp_path, HOW)


def test_what_is_missing_alone_is_sampled_and_equals_the_first_time(handle, answers, tmp_path):
    files = write_answers(handle, answers, tmp_path, HOW)
    lost = files[answers[3].id]
    before, others = lost.read_bytes(), {f: f.stat().st_mtime_ns for f in files.values() if f != lost}
    lost.unlink()
    asked = []
    original = sampler.sample
    try:
        sampler.sample = lambda handle, part, how: (asked.extend(part), original(handle, part, how))[1]
        write_answers(handle, answers, tmp_path, HOW)
    finally:
        sampler.sample = original
    assert [PROMPT_OF(answers[3])] == [request.prompt for request in asked]
    assert others == {f: f.stat().st_mtime_ns for f in others}
    from PIL import Image

    now = np.asarray(Image.open(lost), dtype=int)
    lost.write_bytes(before)
    assert np.abs(now - np.asarray(Image.open(lost), dtype=int)).max() <= 2


def PROMPT_OF(example):
    return example.prompt


def test_an_interrupted_run_leaves_whole_files_only(handle, answers, tmp_path, monkeypatch):
    calls = []
    original = sampler._latents

    def failing(*args):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(*args)

    monkeypatch.setattr(sampler, "_latents", failing)
    how = HOW.model_copy(update={"batch_size": 2})
    with pytest.raises(KeyboardInterrupt):
        write_answers(handle, answers, tmp_path, how)
    done = {file.name for file in tmp_path.glob("*.jpg")}
    assert 4 == len(done) and not list(tmp_path.glob("*.tmp"))
    files = write_answers(handle, answers, tmp_path, how)
    assert 3 + 4 == len(calls) and all(file.is_file() for file in files.values())


KILLED = """
import sys, torch
from pathlib import Path
from mmunlearn.diffusion.sampler import write_answers
from mmunlearn.diffusion.settings import SamplerSettings
from mmunlearn.diffusion.toy import toy_handle, toy_splits
print("ready", flush=True)
how = SamplerSettings(steps=100, batch_size=1)
write_answers(toy_handle(), toy_splits()["answers"].examples, Path(sys.argv[1]), how)
"""


@pytest.mark.slow
def test_after_kill_9_finished_pictures_are_not_made_again(tmp_path, answers):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], cwd=ROOT, env=environment)
    while process.poll() is None and len(list(tmp_path.glob("*.jpg"))) < 2:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    first = {file: file.stat().st_mtime_ns for file in tmp_path.glob("*.jpg")}
    assert 2 <= len(first) < len(answers)
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], cwd=ROOT, env=environment, check=True)
    assert len(answers) == len(list(tmp_path.glob("*.jpg")))
    assert first == {file: file.stat().st_mtime_ns for file in first}


def test_a_folder_of_another_model_or_other_settings_is_refused(handle, answers, tmp_path):
    write_answers(handle, answers[:1], tmp_path, HOW)
    write_answers(handle, answers[:1], tmp_path, HOW.model_copy(update={"batch_size": 7}))
    with pytest.raises(UserError, match="other sampler settings"):
        write_answers(handle, answers[:1], tmp_path, HOW.model_copy(update={"steps": 5}))
    with pytest.raises(UserError, match="another model"):
        write_answers(toy_handle(seed=1), answers[:1], tmp_path, HOW)


def test_a_full_disk_leaves_nothing_half_written(handle, answers, tmp_path, monkeypatch):
    import mmunlearn.atomic

    write_answers(handle, answers[:2], tmp_path, HOW)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(mmunlearn.atomic.os, "fsync", full)
    with pytest.raises(UserError, match="No space left"):
        write_answers(handle, answers, tmp_path, HOW)
    assert 2 == len(list(tmp_path.glob("*.jpg"))) and not list(tmp_path.glob(".*.tmp"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tags": {"seed": "one"}}, "whole numbers"),
        ({"tags": {"file": "../x.jpg"}}, "plain file name"),
        ({"prompt": None}, "no prompt"),
    ],
)
def test_answers_that_cannot_be_asked_for_are_refused(handle, tmp_path, change, message):
    example = replace(Example(id="x", prompt="a"), **change)
    with pytest.raises(UserError, match=message):
        write_answers(handle, [example], tmp_path, HOW)


def test_two_answers_of_one_file_are_refused(handle, answers, tmp_path):
    with pytest.raises(UserError, match="same file"):
        write_answers(handle, [answers[0], replace(answers[0], id="y")], tmp_path, HOW)


def test_presets_are_the_rows_of_the_published_samplers():
    uce = sampler_settings({"preset": "uce", "steps": 10})
    assert ("lms", 10, 9.0, "shared") == (uce.scheduler, uce.steps, uce.scale, uce.latents)
    assert 7.5 == sampler_settings({"preset": "spm"}).scale
    assert 50 == sampler_settings({"preset": "seot"}, {"steps": 4}).steps
    assert 4 == sampler_settings({}, {"steps": 4}).steps
    assert all(sampler_settings({"preset": name}) for name in PRESETS)
    with pytest.raises(UserError, match="preset"):
        sampler_settings({"preset": "esd"})
    with pytest.raises(UserError, match="steps"):
        sampler_settings({"stepz": 4})


def test_forget_me_nots_prompt_keeps_underscores_and_has_no_period(answers):
    how = sampler_settings({"preset": "forget_me_not"})
    assert "A Dogs image in Van_Gogh style" == sampler.request_of(answers[0], how, 0).prompt


class Negated(Guard):
    """A guard of the negative-prompt kind, with a third condition it counts."""

    method = "test"

    def __init__(self):
        self.steps = []

    def unconditional(self, handle, texts, empty):
        return handle.encode(["Ink"] * len(texts))

    def further(self, handle, texts):
        return handle.encode(["third"] * len(texts))

    def guidance(self, step, unconditional, conditional, further):
        step.memory["n"] = step.memory.get("n", 0) + 1
        self.steps.append((step.index, step.memory["n"], len(further)))
        return None


def test_a_guard_is_asked_at_every_step(handle):
    guarded = handle.copy()
    guarded.guard = Negated()
    asked = requests(2)
    by_hand = [replace(request, negative="Ink") for request in asked]
    assert (pictures(handle, by_hand) - pictures(guarded, asked)).abs().max() <= 1
    assert [(i, i + 1, 2) for i in range(4)] == guarded.guard.steps
    assert (pictures(handle, asked) - pictures(guarded, asked)).abs().max() > 1


def test_sampling_leaves_layers_in_their_mode(handle, answers, tmp_path):
    handle.module.train()
    before = [layer.training for layer in handle.module.modules()]
    write_answers(handle, answers[:1], tmp_path, HOW)
    assert before == [layer.training for layer in handle.module.modules()]
    handle.module.eval()


def test_the_marker_is_readable(handle, answers, tmp_path):
    write_answers(handle, answers[:1], tmp_path, HOW)
    assert 4 == json.loads((tmp_path / sampler.MARKER).read_text())["sampler"]["steps"]
