import io

import numpy as np
import pytest
import torch
from mmunlearn.diffusion import latents
from mmunlearn.diffusion.handle import DiffusionHandle
from mmunlearn.diffusion.latents import MomentTable, Unshuffle, decode, encode, picture
from mmunlearn.diffusion.toy import ARCHITECTURE
from PIL import Image

from mmunlearn.data import ImageRef


def pictures(n=2, size=16):
    return torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def ref(array):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return ImageRef(content=buffer.getvalue())


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_rearranged_pixels_come_back_exactly(scale):
    vae = Unshuffle(scale)
    moments = encode(vae, pictures())
    assert (2, 12, 8, 8) == tuple(moments.mean.shape) and not moments.std.any()
    assert torch.equal(pictures(), decode(vae, moments.mean))
    red = scale * (pictures()[1, 0, 5, 6].float() / 127.5 - 1)
    assert float(red) == pytest.approx(float(moments.mean[1, 2, 2, 3]))  # row 5 = 2*2+1, column 6 = 2*3+0


def test_haar_channels_are_mean_and_gained_differences_and_decode_to_the_same_pixels():
    vae = Unshuffle(0.5, detail_gain=3.0)
    made = encode(vae, pictures()).mean
    x = pictures().double() / 127.5 - 1
    for colour in range(3):
        for row, column in ((0, 0), (3, 5)):
            a, b, c, d = x[1, colour, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].flatten().tolist()
            wanted = [a + b + c + d, 3 * (a - b + c - d), 3 * (a + b - c - d), 3 * (a - b - c + d)]
            found = made[1, 4 * colour : 4 * colour + 4, row, column].tolist()
            assert [value / 2 * 0.5 for value in wanted] == pytest.approx(found, abs=1e-5)
    assert torch.equal(pictures(), decode(vae, made))


@pytest.mark.parametrize("name", ["sd", "flux"])
def test_moments_are_scaled_and_shifted_as_the_pipeline_does(name):
    handle = DiffusionHandle(
        {"name": f"scratch/{name}", "size_px": 16, "architecture": {"text_encoder": ARCHITECTURE["text_encoder"]}}, 0
    )
    vae, shift = handle.vae, handle.vae.config.shift_factor or 0.0
    with torch.no_grad():
        moments = handle.encode_images(pictures())
        theirs = vae.encode(pictures().float() / 127.5 - 1).latent_dist
        assert torch.allclose((theirs.mean - shift) * vae.config.scaling_factor, moments.mean, atol=1e-6)
        assert torch.allclose(theirs.std * vae.config.scaling_factor, moments.std, atol=1e-6)
        pixels = vae.decode(moments.mean / vae.config.scaling_factor + shift, return_dict=False)[0]
        wanted = ((pixels / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
        assert (wanted.int() - handle.decode(moments.mean).int()).abs().max() <= 1


def test_the_centre_square_is_taken():
    wide = np.zeros((16, 32, 3), dtype=np.uint8)
    wide[:, 8:24] = 200
    assert torch.equal(torch.full((3, 16, 16), 200, dtype=torch.uint8), picture(ref(wide), 16))
    assert (3, 8, 8) == tuple(picture(ref(wide), 8).shape)


def test_each_picture_goes_through_the_vae_once_and_mirrored_once():
    images = [ref(p.permute(1, 2, 0).numpy()) for p in pictures(3)]
    table, seen = MomentTable(), []

    def counted(stack):
        seen.append(len(stack))
        return encode(Unshuffle(), stack)

    first = table.get([images[0], images[1], images[0]], [False, False, False], counted, 16)
    table.get(images[:2], [False, False], counted, 16)
    assert [2] == seen and torch.equal(first.mean[0], first.mean[2])
    mirrored = table.get(images[:1], [True], counted, 16)
    assert [2, 1] == seen
    assert torch.equal(encode(Unshuffle(), pictures(3)[:1].flip(-1)).mean, mirrored.mean)


def test_tables_are_shared_by_equal_vaes_only():
    table = latents.moment_table(Unshuffle(), 16)
    assert table is latents.moment_table(Unshuffle(), 16)
    assert table is not latents.moment_table(Unshuffle(), 32)
    assert table is not latents.moment_table(Unshuffle(0.5), 16)
    assert table is not latents.moment_table(Unshuffle(detail_gain=3.0), 16)


def test_moments_first_asked_for_in_a_double_run_are_single_afterwards(monkeypatch):
    from mmunlearn.diffusion import latents
    from mmunlearn.diffusion.toy import toy_handle, toy_splits

    from mmunlearn.precision import working

    monkeypatch.setattr(latents, "_TABLES", {})
    handle, examples = toy_handle(), toy_splits()["train"].examples[:2]
    with working(handle.module, "double"):
        handle.collate(examples)
    batch = handle.collate(examples)
    assert (torch.float32, torch.float32) == (batch.tensors["mean"].dtype, batch.tensors["std"].dtype)
