"""Small models that know the drawn picture world, for the contract checks of judges that open classifiers from files:
a transformers folder of its styles, a timm file of its objects, and directions beside the tiny CLIP's pictures."""

import tempfile
from functools import lru_cache
from pathlib import Path

from mmunlearn.seeds import derive
from mmunlearn.testing.picture_world import NUMBERS, OBJECTS, SIDE_PX, STYLES, picture_path

STEPS = 60
TIMM = "timm/test_resnet"
_FOLDERS: list[tempfile.TemporaryDirectory] = []  # kept as long as the process


def folder() -> Path:
    """A new folder that lives as long as the process."""
    _FOLDERS.append(tempfile.TemporaryDirectory())
    return Path(_FOLDERS[-1].name)


def pictures(prepare):
    """Pixels (n, 3, h, w) of the whole world, with the places of style and object."""
    import torch
    from PIL import Image

    cells = [(s, o, n) for s in range(len(STYLES)) for o in range(len(OBJECTS)) for n in range(1, NUMBERS + 1)]
    paths = [picture_path(STYLES[s], OBJECTS[o], n) for s, o, n in cells]
    pixels = torch.stack([prepare(Image.open(path).convert("RGB")) for path in paths])
    return pixels, torch.tensor([s for s, _, _ in cells]), torch.tensor([o for _, o, _ in cells])


def train(network, logits, pixels, labels, *, lr: float, steps: int = STEPS) -> None:
    """Fit some pictures at a time, one of every style and object, until they are known by heart."""
    import torch

    optimiser = torch.optim.AdamW(network.parameters(), lr=lr)
    network.train()
    known = 0
    for step in range(steps):
        chosen = slice(step % NUMBERS, None, NUMBERS)
        loss = torch.nn.functional.cross_entropy(logits(pixels[chosen]), labels[chosen])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        known = known + 1 if loss.item() < 0.05 else 0
        if known == NUMBERS:
            break
    network.eval()


@lru_cache(maxsize=1)
def classifier_folder() -> Path:
    """A small ViT of the styles in transformers' form (a few seconds, once a process)."""
    import torch
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    path = folder()
    config = ViTConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2, image_size=SIDE_PX,
        patch_size=6, id2label=dict(enumerate(STYLES)),
    )  # fmt: skip
    processor = ViTImageProcessor(size={"height": SIDE_PX, "width": SIDE_PX})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(0, "tiny classifier"))
        model = ViTForImageClassification(config)
        pixels, styles, _ = pictures(lambda p: processor(p, return_tensors="pt")["pixel_values"][0])
        train(model, lambda x: model(pixel_values=x).logits, pixels, styles, lr=5e-3)
    model.save_pretrained(path)
    processor.save_pretrained(path)
    return path


@lru_cache(maxsize=1)
def network_file() -> Path:
    """Weights of a small timm network of the objects (a few seconds, once a process)."""
    import timm
    import torch
    from safetensors.torch import save_file

    path = folder() / "objects.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(0, "tiny network"))
        model = timm.create_model(TIMM.removeprefix("timm/"), pretrained=False, num_classes=len(OBJECTS))
        prepare = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
        pixels, _, objects = pictures(prepare)
        train(model, model, pixels, objects, lr=1e-2)
        with torch.no_grad():  # batch norm's statistics are those of all pictures
            for layer in model.modules():
                if isinstance(layer, torch.nn.BatchNorm2d):
                    layer.reset_running_stats()
                    layer.momentum = None
            model.train()(pixels)
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)
    return path


@lru_cache(maxsize=1)
def prompt_vectors() -> Path:
    """Two directions (2, width): the mean of the tiny CLIP's pictures in Dots, and of those in Stripes."""
    import numpy as np
    import open_clip
    import torch
    from PIL import Image

    from mmunlearn.testing.tiny_clip import tiny_clip
    from mmunlearn.weights_file import read_weights

    path, files = folder() / "prompts.npy", tiny_clip()
    model = open_clip.create_model(files.model.stem, pretrained=None)
    model.load_state_dict(read_weights(files.weights))
    means = []
    with torch.inference_mode():
        for style in ("Dots", "Stripes"):
            shown = [np.asarray(Image.open(picture_path(style, o, n))) for o in OBJECTS for n in range(1, NUMBERS + 1)]
            pixels = torch.from_numpy(np.stack(shown)).permute(0, 3, 1, 2).float() / 127.5 - 1
            means.append(model.encode_image(pixels, normalize=True).mean(0).numpy())
    np.save(path, np.stack(means))
    return path
