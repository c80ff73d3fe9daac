"""The core's methods on a text-to-image model: those that need no labels work on denoising errors, others say no."""

import pytest
import torch

from mmunlearn import registry
from mmunlearn.errors import UserError
from mmunlearn.handle import weights_digest
from mmunlearn.run import Run
from mmunlearn.testing.method_checks import mean_nll, toy

ADAM = {"optimiser": {"name": "adam", "lr": 0.001}, "epochs": 2, "batch_size": 8}
# Settings with which each does its work on the toy; the errors of a squared loss are larger than those of a few nats.
FORGET = {
    "grad_ascent": ADAM,
    "grad_diff": ADAM,
    "npo": ADAM,
    "simnpo": ADAM | {"epochs": 6},
    "ssd": {},
    "task_vector": ADAM | {"epochs": 6},
}
KEEP = {"as_given": {}, "finetune": ADAM, "l1_sparse": ADAM}
REFUSED = {
    "bad_teaching": "logits", "fisher": "logits", "kl_min": "logits", "lfssd": "logits", "scrub": "logits",
    "dpo": "no labels", "random_label": "no labels", "saliency": "no labels",
}  # fmt: skip


def applied(name, settings, tmp_path):
    task = toy("diffusion")
    method = registry.load("methods", name, "diffusion")(settings)
    return method.apply(task.original.copy(), task.splits, Run.scratch(tmp_path, 0, device="cpu"))


def test_every_method_of_the_core_is_accounted_for():
    core = {component.name for component in registry.components("methods") if component.modality == "core"}
    assert core == {*FORGET, *KEEP, *REFUSED, "retrain"}


@pytest.mark.parametrize("name", FORGET)
def test_forgetting_raises_the_error_of_the_forget_set(name, tmp_path):
    task = toy("diffusion")
    result = applied(name, FORGET[name], tmp_path)
    assert mean_nll(result, task.splits["forget"]) > mean_nll(task.original, task.splits["forget"]) + 0.005
    frozen = ("text_encoder", "vae")
    for part in frozen:
        assert weights_digest(task.original.module[part]) == weights_digest(result.module[part])


@pytest.mark.parametrize("name", KEEP)
def test_training_on_what_is_retained_keeps_it(name, tmp_path):
    task = toy("diffusion")
    result = applied(name, KEEP[name], tmp_path)
    before = mean_nll(task.original, task.splits["retain"])
    assert mean_nll(result, task.splits["retain"]) < before + 0.02


def test_retraining_starts_from_new_weights_and_never_sees_the_forget_set(tmp_path):
    task = toy("diffusion")
    result = applied("retrain", {"optimiser": {"name": "adam", "lr": 0.005}, "epochs": 40, "batch_size": 8}, tmp_path)
    retained, forgotten = (mean_nll(result, task.splits[name]) for name in ("retain", "forget"))
    assert retained < forgotten
    states = task.original.module.state_dict(), result.module.state_dict()
    name = "denoiser.conv_in.weight"
    assert not torch.equal(*(state[name] for state in states))


@pytest.mark.parametrize("name", REFUSED)
def test_methods_that_need_labels_or_logits_say_so(name, tmp_path):
    with pytest.raises(UserError, match=REFUSED[name]):
        applied(name, {}, tmp_path)
