"""Training views against torchvision, and as pure functions of (seed, example, epoch)."""

import numpy as np
import pytest
import torch
from mmunlearn.vision.augment import Augmentation, augment, draws
from torchvision.transforms.v2 import functional as reference

from mmunlearn.handle import View
from mmunlearn.seeds import derive

NOTHING = Augmentation(flip=False, shear_degrees=0, scale_frac=0, brightness=0, contrast=0, saturation=0)
KEYS = np.array([derive(0, f"e{i}") for i in range(12)])


def smooth(n=1, size=32):
    y, x = torch.meshgrid(torch.linspace(0, 3, size), torch.linspace(0, 3, size), indexing="ij")
    rows = [torch.stack([torch.sin(x * (1 + c) + k) * torch.cos(y - c) for c in range(3)]) for k in range(n)]
    return (torch.stack(rows) + 1) / 2.2 + 0.02


def numbers(**columns):
    """Draws of one picture: column -> position in its range, -1 … 1; all others in the middle."""
    row = np.full((1, 8), 0.5)
    for column, value in columns.items():
        row[0, int(column[1:])] = (value + 1) / 2
    return row


def test_draws_belong_to_example_and_epoch_not_to_the_batch():
    epochs = np.array([0, 1, 2] * 4)
    whole = draws(KEYS, View(5, epochs))
    for chosen in ([3], [0, 7, 11], [11, 7, 0]):
        assert np.array_equal(whole[chosen], draws(KEYS[chosen], View(5, epochs[chosen])))
    assert not np.isclose(whole, draws(KEYS, View(5, epochs + 1))).any()
    assert not np.isclose(whole, draws(KEYS, View(6, epochs))).any()


def test_a_picture_looks_the_same_in_any_batch():
    images, u = smooth(12), draws(KEYS, View(0, np.zeros(12, dtype=int)))
    whole = augment(images, u, Augmentation(shift_frac=0.1))
    for i in (0, 5, 11):
        alone = augment(images[i : i + 1], u[i : i + 1], Augmentation(shift_frac=0.1))
        assert torch.allclose(whole[i : i + 1], alone, atol=1e-6)
    assert 0 <= whole.min() and whole.max() <= 1


def test_nothing_changes_when_all_is_zero():
    u = draws(KEYS, View(0, np.zeros(12, dtype=int)))
    assert torch.equal(smooth(12), augment(smooth(12), u, NOTHING))
    middle = np.full((12, 8), 0.5)
    assert torch.allclose(smooth(12), augment(smooth(12), middle, Augmentation()), atol=1e-5)


def test_flips_half_of_the_pictures():
    how = NOTHING.model_copy(update={"flip": True})
    image = smooth()
    assert torch.allclose(reference.horizontal_flip(image), augment(image, numbers(c2=-0.5), how), atol=1e-5)
    assert torch.allclose(image, augment(image, numbers(c2=0.5), how), atol=1e-5)
    keys = np.array([derive(0, str(i)) for i in range(2000)])
    flipped = (draws(keys, View(0, np.zeros(2000, dtype=int)))[:, 2] < 0.5).mean()
    assert 0.45 < flipped < 0.55


@pytest.mark.parametrize("shear", (-1.0, 0.4, 1.0))
@pytest.mark.parametrize("scale", (-1.0, 0.0, 0.7))
def test_shear_and_scale_are_torchvisions_affine(shear, scale):
    how = NOTHING.model_copy(update={"shear_degrees": 10.0, "scale_frac": 0.2})
    expected = reference.affine(
        smooth(), angle=0.0, translate=[0, 0], scale=1 + 0.2 * scale, shear=[10.0 * shear, 0.0],
        interpolation=reference.InterpolationMode.BILINEAR,
    )  # fmt: skip
    assert torch.allclose(expected, augment(smooth(), numbers(c0=scale, c1=shear), how), atol=2e-4)


@pytest.mark.parametrize("value", (-1.0, -0.3, 0.6, 1.0))
@pytest.mark.parametrize(
    ("name", "column", "function"),
    (
        ("brightness", "c4", reference.adjust_brightness), ("contrast", "c5", reference.adjust_contrast),
        ("saturation", "c6", reference.adjust_saturation),
    ),
)  # fmt: skip
def test_colour_jitter_is_torchvisions(value, name, column, function):
    how = NOTHING.model_copy(update={name: 0.2})
    expected = function(smooth(), 1 + 0.2 * value)
    assert torch.allclose(expected, augment(smooth(), numbers(**{column: value}), how), atol=1e-4)


def test_colours_follow_one_another_as_in_torchvision():
    expected = reference.adjust_brightness(smooth(), 1.2)
    expected = reference.adjust_saturation(reference.adjust_contrast(expected, 0.9), 1.1)
    how = NOTHING.model_copy(update={"brightness": 0.2, "contrast": 0.2, "saturation": 0.2})
    assert torch.allclose(expected, augment(smooth(), numbers(c4=1.0, c5=-0.5, c6=0.5), how), atol=1e-4)
