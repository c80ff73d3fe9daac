"""A tiny CLIP that has learnt the captions of the picture world, for the contract checks of what asks a CLIP model."""

import json
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from mmunlearn.seeds import derive
from mmunlearn.testing.picture_world import NUMBERS, OBJECTS, SIDE_PX, STYLES, caption, picture_path

STEPS = 40
CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": SIDE_PX, "layers": 1, "width": 32, "patch_size": 6, "head_width": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1},
}
_FOLDERS: list[tempfile.TemporaryDirectory] = []  # kept as long as the process


class TinyClip(NamedTuple):
    """Files of the model: open_clip configuration and weights."""

    model: Path
    weights: Path


@lru_cache(maxsize=1)
def tiny_clip() -> TinyClip:
    """Train it (a few seconds) and write its files, once a process."""
    import numpy as np
    import open_clip
    import torch
    from PIL import Image
    from safetensors.torch import save_file

    _FOLDERS.append(tempfile.TemporaryDirectory())
    folder = Path(_FOLDERS[-1].name)
    files = TinyClip(folder / "world-clip.json", folder / "world-clip.safetensors")
    files.model.write_text(json.dumps(CONFIG), encoding="utf-8")
    open_clip.add_model_config(files.model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(0, "tiny clip"))
        model = open_clip.create_model(files.model.stem, pretrained=None)
        cells = [(style, thing) for style in STYLES for thing in OBJECTS]
        tokens = open_clip.get_tokenizer(files.model.stem)([caption(*cell) for cell in cells])
        pictures = [
            [np.asarray(Image.open(picture_path(*cell, number))) for cell in cells] for number in range(1, NUMBERS + 1)
        ]
        pixels = torch.from_numpy(np.array(pictures)).permute(0, 1, 4, 2, 3).float() / 127.5 - 1
        optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
        for step in range(STEPS):
            images = model.encode_image(pixels[step % NUMBERS], normalize=True)
            logits = 10 * images @ model.encode_text(tokens, normalize=True).T
            labels = torch.arange(len(cells))
            loss = torch.nn.functional.cross_entropy(logits, labels)
            loss = loss + torch.nn.functional.cross_entropy(logits.T, labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    save_file({name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}, files.weights)
    return files
