import pytest
import torch
from mmunlearn.diffusion.handle import DiffusionHandle
from mmunlearn.diffusion.toy import ARCHITECTURE, toy_handle

TEXT = ARCHITECTURE["text_encoder"]


def inputs(handle):
    latents = torch.randn(2, *handle.latent_shape(), generator=torch.Generator().manual_seed(0))
    return latents, torch.tensor([300, 700]), handle.encode(["A Dogs image", "b"])


def test_recorded_probabilities_are_the_softmax_of_queries_and_keys_by_loops():
    handle = toy_handle()
    layer, *_ = handle.cross_attention()
    seen = {}
    hooks = [
        part.register_forward_hook(lambda _, __, out, name=name: seen.__setitem__(name, out))
        for name, part in (("q", layer.to_q), ("k", layer.to_k))
    ]
    with torch.no_grad(), handle.recorded_attention([layer]) as records:
        handle.predict(*inputs(handle))
    for hook in hooks:
        hook.remove()
    heads = layer.module.heads
    made = records[layer.name]
    width = seen["q"].shape[-1] // heads
    assert (2, heads, 64, 16) == tuple(made.shape)
    for row, head, query in ((0, 0, 0), (1, heads - 1, 63)):
        part = slice(head * width, (head + 1) * width)
        q = seen["q"][row, query, part].double()
        scores = torch.stack([q @ k.double() / width**0.5 for k in seen["k"][row, :, part]])
        assert torch.allclose(scores.exp() / scores.exp().sum(), made[row, head, query].double(), atol=1e-6)


@pytest.mark.parametrize("name", ["sd", "sdxl", "sd3", "flux"])
def test_recording_changes_no_prediction_and_carries_gradients(name):
    encoders = {"sd": 1, "sdxl": 2, "sd3": 2, "flux": 1}[name]
    names = ("text_encoder", "text_encoder_2")[:encoders]
    handle = DiffusionHandle({"name": f"scratch/{name}", "size_px": 16, "architecture": dict.fromkeys(names, TEXT)}, 0)
    latents, t, condition = inputs(handle)
    bare = handle.predict(latents, t, condition)
    with handle.recorded_attention() as records:
        watched = handle.predict(latents, t, condition)
    assert torch.allclose(bare, watched, atol=1e-4)
    layers = handle.cross_attention()
    assert layers and {layer.name for layer in layers} == set(records)
    for layer in layers:
        made = records[layer.name]
        assert 2 == made.shape[0] and condition.states.shape[1] == made.shape[-1]
        sums = made.sum(-1)
        assert (
            (sums < 1 - 1e-3).all() if handle.family.joint else torch.allclose(sums, torch.ones_like(sums), atol=1e-4)
        )
    gradient = torch.autograd.grad(records[layers[0].name][..., 1].sum(), layers[0].to_k.weight)[0]
    assert gradient.abs().sum() > 0
    assert torch.equal(bare, handle.predict(latents, t, condition))  # nothing stays behind
