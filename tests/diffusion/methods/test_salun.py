import pytest
import torch
from mmunlearn.diffusion.methods._pseudo_label import guided_loss, relabel_loss
from mmunlearn.diffusion.methods.salun import Salun

from mmunlearn.errors import UserError


def loss_of_one(handle, example, s):
    batch = handle.collate([example])
    x = handle.noised(batch.tensors["mean"], batch.tensors["noise"], batch.tensors["t"])
    named = handle.predict(x, batch.tensors["t"], handle.encode([example.prompt]))
    plain = handle.predict(x, batch.tensors["t"], handle.unconditional([""]))
    true = handle.target(batch.tensors["mean"], batch.tensors["noise"], batch.tensors["t"])
    return ((true - ((1 + s) * named - s * plain)) ** 2).sum()


def test_guided_loss_is_the_sum_over_pictures(handle, splits):
    with torch.no_grad():
        whole = guided_loss(handle, handle.collate(splits["forget"].examples), 7.5)
        alone = sum(float(loss_of_one(handle, example, 7.5)) for example in splits["forget"])
    assert alone == pytest.approx(float(whole), rel=1e-4)


def test_mask_is_the_top_share_of_the_summed_gradient(exact, splits, double_run):
    method = Salun({"fraction": 0.3, "batch_size": 1})
    method.prepare(exact, splits, double_run)
    chosen = dict(exact.trainable())
    sums = {name: torch.zeros_like(p) for name, p in chosen.items()}
    for example in splits["forget"]:
        made = torch.autograd.grad(loss_of_one(exact, example, 7.5), list(chosen.values()))
        for name, gradient in zip(chosen, made, strict=True):
            sums[name] += gradient
    flat = sorted((float(v) for g in sums.values() for v in g.abs().flatten()), reverse=True)
    kept = sum(int(mask.sum()) for mask in method._masks.values())
    assert int(0.3 * len(flat)) == kept
    limit = flat[kept - 1]
    for name, mask in method._masks.items():
        wrong = mask != (sums[name].abs() >= limit)
        # Rounding may swap values that are all but equal.
        assert (sums[name].abs()[wrong] - limit).abs().le(1e-6 * limit).all()


ADAMW = {"name": "adamw", "lr": 0.01, "weight_decay": 0.1}


@pytest.mark.parametrize("optimiser", [{"name": "adam", "lr": 0.01}, ADAMW])
def test_masked_weights_do_not_move(handle, splits, run, optimiser):
    before = {name: p.detach().clone() for name, p in handle.module.named_parameters()}
    method = Salun({"fraction": 0.2, "epochs": 2, "batch_size": 2, "optimiser": optimiser})
    method.apply(handle, splits, run)
    moved = 0
    for name, parameter in handle.module.named_parameters():
        changed = parameter != before[name]
        if name in method._masks:
            moved += int(changed.sum())
            assert not (changed & ~method._masks[name]).any()
        else:
            assert not changed.any()
    assert moved > 0


def test_relabel_loss_leaves_the_aim_without_a_graph(exact, splits):
    tab = {example.prompt: example.target for example in splits["concept"]}
    examples = [example.with_target(tab[example.prompt]) for example in splits["forget"]]
    batch = exact.collate(examples)
    parameter = dict(exact.trainable())["denoiser.conv_out.weight"]
    (found,) = torch.autograd.grad(relabel_loss(exact, batch), parameter)
    expected = torch.zeros_like(parameter)
    for example in examples:
        one = exact.collate([example])
        x, t = exact.noised(one.tensors["mean"], one.tensors["noise"], one.tensors["t"]), one.tensors["t"]
        aim = exact.predict(x, t, exact.encode([example.target])).detach()
        made = exact.predict(x, t, exact.encode([example.prompt]))
        expected += torch.autograd.grad(((made - aim) ** 2).sum(), parameter)[0]
    assert torch.allclose(expected, found, rtol=1e-4, atol=1e-4)


def test_reference_has_no_mask_and_repeats_the_first_batches(handle, splits, run):
    method = Salun({"reference": True, "batch_size": 1, "epochs": 3})
    method.prepare(handle, splits, run)
    (phase,) = method.phases(handle, splits, run)
    assert {} == method._masks
    assert 6 == phase.steps
    assert splits["forget"].ids[:1] == phase.streams["forget"].split.ids
    assert splits["retain"].ids[:1] == phase.streams["retain"].split.ids


def test_caption_without_surrogate_is_refused(handle, splits, run):
    wrong = {**splits, "forget": splits["retain"]}
    with pytest.raises(UserError, match="no surrogate prompt"):
        Salun({"epochs": 1, "batch_size": 2}).apply(handle, wrong, run)
