"""A training and an evaluation epoch of our handle and engine against a plain loop that opens each picture each time.

Two layouts: CelebA-HQ's (1024-pixel JPEGs, as MUCAC has them) and MUFAC's (128-pixel JPEGs), both at the paper's 128
pixels, with the paper's transforms and a small network. Both sides run in this process, in turns, on all cores; the
seconds are the clock's, so the machine should be quiet.

    python tests/bench/epoch.py [PICTURES]
"""

import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from mmunlearn.vision.handle import VisionHandle
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from mmunlearn.data import Example, ImageRef, Role, Split
from mmunlearn.engine import Engine
from mmunlearn.handle import Decoding
from mmunlearn.phases import Optimiser, Phase, Stream, Term
from mmunlearn.run import Run

SIZE_PX, BATCH, CLASSES, REPEATS, DISTINCT = 128, 32, 8, 3, 48
TARGET = 5.0  # training and evaluation epoch together, steady state, 1024-pixel pictures
# The cheapest network of the library, so that the cost of the data shows: on one core the passes of a residual network
# take most of either epoch (2.3x with 30,000 parameters at 64 pictures, where the data alone are 9x).
MODEL = {"name": "timm/test_vit", "classes": CLASSES, "size_px": SIZE_PX, "options": {"img_size": SIZE_PX}}


def pictures(folder: Path, count: int, side_px: int) -> list[tuple[Path, int]]:
    """JPEGs with the detail of photographs: several octaves of noise."""
    draw, files = np.random.default_rng(0), []
    for number in range(count):
        file = folder / f"{number}.jpg"
        files.append((file, number % CLASSES))
        if number >= DISTINCT:  # making them takes longer than everything else; both sides decode each file
            shutil.copyfile(files[number % DISTINCT][0], file)
            continue
        total = np.zeros((side_px, side_px, 3))
        for octave in range(2, 9):
            grid = draw.normal(size=(2**octave, 2**octave, 3)) * 60 / octave
            layers = [Image.fromarray(grid[..., c].astype(np.float32)).resize((side_px, side_px)) for c in range(3)]
            total += np.stack([np.asarray(layer) for layer in layers], -1)
        Image.fromarray(np.clip(total + 128, 0, 255).astype(np.uint8)).save(file, quality=90)
    return files


class Plain(Dataset):
    """What the benchmarks' notebooks do: open the file, transform, every time."""

    def __init__(self, files: list[tuple[Path, int]], training: bool):
        from torchvision import transforms

        steps: list = [transforms.Resize(SIZE_PX)]
        if training:
            steps += [
                transforms.RandomHorizontalFlip(), transforms.RandomAffine(0, shear=10, scale=(0.8, 1.2)),
                transforms.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2),
            ]  # fmt: skip
        self.files, self.transform = files, transforms.Compose([*steps, transforms.ToTensor()])

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int):
        file, target = self.files[index]
        return self.transform(Image.open(file).convert("RGB")), target


def plain_training(files: list[tuple[Path, int]], module: torch.nn.Module) -> float:
    """Seconds of one epoch of the plain loop."""
    started = time.perf_counter()
    optimiser = torch.optim.SGD(module.parameters(), lr=0.01, momentum=0.9)
    module.train()
    for images, targets in DataLoader(Plain(files, True), BATCH, shuffle=True):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(module(images), targets).backward()
        optimiser.step()
    return time.perf_counter() - started


@torch.no_grad()
def plain_evaluation(files: list[tuple[Path, int]], module: torch.nn.Module) -> float:
    """Seconds of one pass of the plain loop."""
    started = time.perf_counter()
    module.eval()
    for images, targets in DataLoader(Plain(files, False), BATCH):
        torch.nn.functional.cross_entropy(module(images), targets, reduction="none").tolist()
    return time.perf_counter() - started


def split_of(files: list[tuple[Path, int]]) -> Split:
    examples = [Example(id=str(file), image=ImageRef(path=file), target=target) for file, target in files]
    return Split("train", Role.TRAIN, tuple(examples))


def our_training(split: Split, handle: VisionHandle) -> float:
    """Seconds of one epoch of the engine, its set-up and events included."""

    def terms(handle, batches, step):
        return {"ce": Term(handle.score(batches["train"]).nll.sum(), "train")}

    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        spec = Optimiser(lr=0.01, momentum=0.9)
        phase = Phase(name="epoch", streams={"train": Stream(split, BATCH)}, driver="train", terms=terms, spec=spec)
        Engine(handle, Run.scratch(Path(folder), device="cpu")).run([phase])
    return time.perf_counter() - started


def our_evaluation(split: Split, handle: VisionHandle) -> float:
    """Seconds of one pass that makes the rows of all metrics."""
    started = time.perf_counter()
    handle.respond(split.examples, Decoding(batch_size=BATCH), 0)
    return time.perf_counter() - started


def network_alone(handle: VisionHandle, count: int) -> float:
    """Seconds of an epoch's forward and backward passes on pictures that cost nothing: what no data path can save."""
    images, targets = torch.rand(BATCH, 3, SIZE_PX, SIZE_PX), torch.zeros(BATCH, dtype=torch.long)
    handle.module.train()
    started = time.perf_counter()
    for _ in range(-(-count // BATCH)):
        torch.nn.functional.cross_entropy(handle.module(images), targets).backward()
    return time.perf_counter() - started


def measure(layout: str, side_px: int, count: int) -> float:
    """Print the layout's figures; returns the smaller ratio of the two epochs, training and evaluation."""
    with tempfile.TemporaryDirectory() as folder:
        files = pictures(Path(folder), count, side_px)
        split, module = split_of(files), VisionHandle(MODEL).module
        warm = torch.rand(2, 3, SIZE_PX, SIZE_PX)
        module(warm).sum().backward()
        handle = VisionHandle(MODEL)
        first = our_training(split, handle)
        plain_t, ours_t, plain_e, ours_e, bare = [], [], [], [], []
        for _ in range(REPEATS):
            plain_t.append(plain_training(files, module))
            ours_t.append(our_training(split, handle))
            plain_e.append(plain_evaluation(files, module))
            ours_e.append(our_evaluation(split, handle))
            bare.append(network_alone(handle, count))
    pt, ot, pe, oe, nt = (statistics.median(times) for times in (plain_t, ours_t, plain_e, ours_e, bare))
    print(f"{layout}: {count} JPEGs of {side_px} px")
    print(f"  first epoch plain {pt:6.2f} s   ours {first:6.2f} s ({pt / first:5.1f}x)")
    print(f"  training    plain {pt:6.2f} s   ours {ot:6.2f} s ({pt / ot:5.1f}x)")
    print(f"  evaluation  plain {pe:6.2f} s   ours {oe:6.2f} s ({pe / oe:5.1f}x)")
    data = (pt - nt) / max(ot - nt, 1e-9)
    print(f"  the network's own passes take {nt:.2f} s of both training epochs; without them {data:.1f}x")
    print(f"  an epoch of training with its evaluation: {(pt + pe) / (ot + oe):.1f}x")
    return (pt + pe) / (ot + oe)


def main() -> int:
    """Print both layouts; 1 when the target is missed."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 192  # the real data has thousands
    reached = measure("MUCAC layout", 1024, count)
    measure("MUFAC layout", 128, count)
    verdict = "met" if reached >= TARGET else "MISSED"
    print(f"steady state on 1024 px, training with its evaluation: {reached:.1f}x, target {TARGET:.0f}x: {verdict}")
    return int(reached < TARGET)


if __name__ == "__main__":
    sys.exit(main())
