"""Pictures decoded once: sizes, draft mode, what cannot be read."""

import io

import numpy as np
import pytest
import torch
from mmunlearn.vision.images import ImageTable, decode
from PIL import Image
from torchvision.transforms import v2

from mmunlearn.data import Example, ImageRef
from mmunlearn.errors import UserError
from mmunlearn.seeds import generator


def picture(width, height, mode="RGB"):
    """A smooth coloured pattern with some grain."""
    y, x = np.mgrid[0:height, 0:width]
    channels = [128 + 90 * np.sin(x / (9 + c) + c) * np.cos(y / (13 - c)) for c in range(3)]
    grain = generator(0, "picture").normal(0, 6, (height, width, 3))
    return Image.fromarray(np.clip(np.stack(channels, -1) + grain, 0, 255).astype(np.uint8)).convert(mode)


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def paper(image, size_px):
    return v2.functional.center_crop(v2.functional.resize(image, size_px, antialias=True), [size_px, size_px])


@pytest.mark.parametrize("size", ((64, 64), (200, 200), (150, 90), (90, 151), (20, 30)))
def test_equals_torchvisions_resize_and_centre_cut(size):
    image = picture(*size)
    expected = np.asarray(paper(image, 64)).transpose(2, 0, 1)
    got = decode(ImageRef(content=encoded(image)), 64)
    assert (3, 64, 64) == got.shape
    assert np.array_equal(expected, got)


def test_draft_decoding_is_close_to_full_decoding():
    image = picture(1024, 1024)
    content = encoded(image, "JPEG", quality=95)
    full = np.asarray(paper(Image.open(io.BytesIO(content)).convert("RGB"), 128)).transpose(2, 0, 1)
    got = decode(ImageRef(content=content), 128)
    difference = np.abs(full.astype(float) - got.astype(float))
    assert difference.mean() < 1.0 and difference.max() < 16
    assert (256, 256) == ImageRef(content=content).open(draft_px=256).size


@pytest.mark.parametrize("mode", ("L", "P", "RGBA", "CMYK", "1", "LA", "I;16"))
def test_every_mode_becomes_three_channels(mode):
    image = picture(16, 16, "L").convert("I;16") if mode == "I;16" else picture(16, 16, "RGB").convert(mode)
    kind = "TIFF" if mode in {"CMYK", "I;16"} else "PNG"
    assert (3, 16, 16) == decode(ImageRef(content=encoded(image, kind)), 16).shape


def test_each_picture_is_opened_once(tmp_path, monkeypatch):
    examples = []
    for number in range(4):
        file = tmp_path / f"{number}.png"
        file.write_bytes(encoded(picture(16 + number, 16)))
        examples.append(Example(id=str(number), image=ImageRef(path=file)))
    opened = []
    read = ImageRef.read
    monkeypatch.setattr(ImageRef, "read", lambda self: opened.append(self.path) or read(self))
    table = ImageTable(16)
    first = table.rows([examples[0], examples[1], examples[0]])
    again = table.rows(examples[::-1])
    assert 4 == len(opened) == len(table)
    assert torch.equal(first[0], again[3]) and torch.equal(first[0], first[2]) and torch.equal(first[1], again[2])
    for row, example in zip(table.rows(examples), examples, strict=True):
        assert np.array_equal(decode(example.image, 16), row.numpy())


def test_pictures_in_memory_are_told_apart_by_content():
    one, two = (Example(id="same", image=ImageRef(content=encoded(picture(s, s)))) for s in (16, 24))
    table = ImageTable(16)
    assert not torch.equal(table.rows([one])[0], table.rows([two])[0])
    with pytest.raises(UserError, match="no image"):
        table.rows([Example(id="none")])


@pytest.mark.parametrize("kind", ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP"))
def test_damaged_pictures_are_a_users_error_or_decode(kind):
    content, draw = encoded(picture(24, 24), kind), np.random.default_rng(0)
    broken = [content[: len(content) * i // 12] for i in range(12)]
    for _ in range(40):
        copy = bytearray(content)
        for at in draw.integers(0, min(len(copy), 200), 4):
            copy[at] = draw.integers(256)
        broken.append(bytes(copy))
    refused = 0
    for case in broken:
        try:
            assert (3, 16, 16) == decode(ImageRef(content=case), 16).shape
        except UserError as error:
            refused += 1
            assert 1 == len(str(error).splitlines())
    assert refused >= 4


def test_bombs_and_missing_files_are_refused(tmp_path):
    header = encoded(Image.new("1", (8001, 8000)))
    with pytest.raises(UserError, match="refused unread"):
        ImageRef(content=header).open()
    with pytest.raises(UserError, match="refused unread"):
        ImageRef(content=encoded(Image.new("1", (20000, 10000)))).open()
    with pytest.raises(UserError, match="cannot be read"):
        ImageRef(path=tmp_path / "none.png").open()
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UserError, match="cannot be read"):
        ImageRef(path=tmp_path / "folder.png").open()
