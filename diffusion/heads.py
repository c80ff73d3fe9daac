"""Style and object classifiers: opened from files, or trained on pictures once and kept in the user's cache.

    python -m mmunlearn.diffusion.heads --root DATA --out heads [--network timm/vit_large_patch16_224.augreg_in21k]

trains both heads on a folder {style}/{object}/{i}.jpg and says how often they are right on the held-out pictures (the
last two of each style and object: 19 and 20 of 20). The judge style_object and the FID flavour `mini` use them.
"""

import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, UInt8
from pydantic import Field
from torch import Tensor, nn

from mmunlearn.atomic import new_folder
from mmunlearn.benchmark import resolve_root
from mmunlearn.cache import cache_folder
from mmunlearn.data import Example, PictureFolder, image_digests
from mmunlearn.errors import UserError
from mmunlearn.mini import code_digest
from mmunlearn.settings import Settings, build, digest
from mmunlearn.weights_file import load_strictly, read_weights

from . import head_training
from .canvas.files import Picture, read_canvas
from .canvas.names import ALL_THEMES, OBJECTS, THEMES, Names, names_of
from .head_networks import PUBLISHED, HeadPair, folded, input_px, normalised, outputs_of, timm_network, two_heads
from .head_training import Recipe

log = logging.getLogger(__name__)

NAME, FACTS = "heads.safetensors", "heads.json"


class HeadsSettings(Settings):
    """Which heads. First that is given: `style_weights` and `object_weights` (two published files), `folder` (what the
    training command wrote), else heads trained on the pictures under `root` (default: the benchmark's mini edition).

    network: of the two published files a timm name; of a training "mini" or "timm/<name>". steps: of the training.
    """

    style_weights: str = ""
    object_weights: str = ""
    folder: str = ""
    root: PictureFolder = ""
    benchmark: str = "unlearncanvas"
    network: str = ""
    steps: int = Field(0, ge=0)  # 0: the recipe's
    batch_size: int = Field(128, ge=1)


class Said(NamedTuple):
    """What the heads say of pictures: probabilities of style and object, and the features that they read."""

    style: Float[Tensor, "n styles"]
    object: Float[Tensor, "n objects"]
    features: Float[Tensor, "n width"]


@dataclass(frozen=True)
class Heads:
    """Both classifiers; labels in the order of their outputs. identity: hash of what the answers depend on."""

    network: nn.Module
    styles: tuple[str, ...]
    objects: tuple[str, ...]
    size_px: int
    identity: str
    batch_size: int = 128

    @cached_property
    def _answering(self) -> nn.Module:
        """The network that answers; `network` stays as it was trained."""
        return folded(self.network)

    @torch.inference_mode()
    def say(self, pictures: UInt8[Tensor, "n 3 size size"]) -> Said:
        """Both answers to every picture, in batches, from one pass; float32 on the CPU."""
        device = next(self.network.parameters()).device
        parts: list[tuple[Tensor, Tensor, Tensor]] = []
        for chunk in pictures.split(self.batch_size):
            seen = normalised(chunk.to(device)).contiguous(memory_format=torch.channels_last)
            style, thing, features = self._answering(seen)
            parts.append((style.float().softmax(1).cpu(), thing.float().softmax(1).cpu(), features.float().cpu()))
        if not parts:
            none = torch.empty(0, 0)
            return Said(torch.empty(0, len(self.styles)), torch.empty(0, len(self.objects)), none)
        return Said(*(torch.cat(column) for column in zip(*parts, strict=True)))


def open_heads(settings: HeadsSettings | None = None) -> Heads:
    """The heads of `settings`, in evaluation mode, on a GPU where there is one; trained now when the cache lacks them.

    Raises UserError for missing or unfitting files.
    """
    settings = settings or HeadsSettings()
    return _opened(identity(settings), settings.model_dump_json())


def identity(settings: HeadsSettings) -> str:
    """Hash of the heads of `settings` (files, or data and recipe), found without training them."""
    if settings.style_weights or settings.object_weights or settings.folder:
        files = [settings.style_weights, settings.object_weights]
        files += [str(Path(settings.folder) / NAME)] if settings.folder else []
        return digest([settings.network, *(file_digest(file) for file in files if file)])
    root = data_root(settings)
    return digest([_data_digest(root), _recipe(settings).model_dump(), code_digest(Recipe)])


def data_root(settings: HeadsSettings) -> Path:
    """Folder of the pictures that heads are trained on: `root`, else the benchmark's mini edition."""
    if settings.root:
        return Path(settings.root)
    from mmunlearn import registry

    return resolve_root(registry.load("benchmarks", settings.benchmark, "diffusion")({}), "mini", None)


@lru_cache(maxsize=4)
def _opened(key: str, content: str) -> Heads:
    settings = HeadsSettings.model_validate_json(content)
    if settings.style_weights or settings.object_weights:
        heads = _published(settings, key)
    elif settings.folder:
        heads = read_heads(Path(settings.folder), key)
    else:
        heads = _cached(settings, key)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = heads.network.to(device).to(memory_format=torch.channels_last).eval().requires_grad_(False)
    return Heads(network, heads.styles, heads.objects, heads.size_px, key, settings.batch_size)


def _published(settings: HeadsSettings, key: str) -> Heads:
    if not (settings.style_weights and settings.object_weights):
        raise UserError("heads: give both style_weights and object_weights, or a folder with both heads.")
    network = settings.network.removeprefix("timm/") or PUBLISHED
    nets, counts = [], []
    for file in (settings.style_weights, settings.object_weights):
        weights = read_weights(Path(file))
        counts.append(outputs_of(weights))
        if not counts[-1]:
            raise UserError(f"{file}: has no tensor head.weight, so it is no classifier of {network}.")
        nets.append(timm_network(network, counts[-1]))
        load_strictly(nets[-1], weights, file, "Set `network` of the judge to the network that was trained.")
    styles = {len(THEMES): THEMES, len(ALL_THEMES): ALL_THEMES}.get(counts[0])
    if styles is None or counts[1] != len(OBJECTS):
        raise UserError(
            f"heads: {counts[0]} styles and {counts[1]} objects; published files have {len(THEMES)} or "
            f"{len(ALL_THEMES)}, and {len(OBJECTS)}.\nHeads of other labels: train them with "
            "python -m mmunlearn.diffusion.heads and give `folder`."
        )
    return Heads(HeadPair(*nets), styles, OBJECTS, input_px(network), key)


def read_heads(folder: Path, key: str = "") -> Heads:
    """Heads that `write_heads` wrote. Raises UserError for a folder without them."""
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        styles, objects = tuple(map(str, facts["styles"])), tuple(map(str, facts["objects"]))
        network, size_px = str(facts["network"]), int(facts["size_px"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{folder}: holds no style and object heads ({FACTS}: {error}).\n"
            "Train them: python -m mmunlearn.diffusion.heads --root DATA --out FOLDER"
        ) from None
    with torch.random.fork_rng(devices=[]):
        module = two_heads(network, len(styles), len(objects))
    load_strictly(module, read_weights(folder / NAME), folder / NAME, f"{FACTS} and {NAME} belong together.")
    return Heads(module, styles, objects, size_px, key)


def write_heads(folder: Path, heads: Heads, network: str, facts: dict[str, Any]) -> None:
    """Weights as safetensors; labels, network and figures as JSON; the folder is there whole or not at all."""
    from safetensors.torch import save_file

    content = {**facts, "network": network, "size_px": heads.size_px, "styles": heads.styles, "objects": heads.objects}
    with new_folder(folder) as temporary:
        save_file({k: v.detach().cpu().contiguous() for k, v in heads.network.state_dict().items()}, temporary / NAME)
        (temporary / FACTS).write_text(json.dumps(content, indent=1), encoding="utf-8")


def _cached(settings: HeadsSettings, key: str) -> Heads:
    folder = cache_folder("heads") / key
    if not (folder / FACTS).is_file():
        root = data_root(settings)
        log.warning("training the style and object heads on %s (a minute or two, once)", root)
        heads, facts = train_on(root, _recipe(settings))
        log.warning("heads: %s", summary(facts))
        write_heads(folder, heads, _recipe(settings).network, facts)
    else:
        log.info("style and object heads are taken from the cache (%s)", folder)
    return read_heads(folder, key)


def train_on(root: Path, recipe: Recipe) -> tuple[Heads, dict[str, Any]]:
    """Heads trained on the held-in pictures under `root`, and facts: counts, steps, held-out accuracies (fractions)."""
    pictures, names = _pictures(root)
    data = head_training.load(pictures, names, recipe)
    network, facts = head_training.train(data, recipe)
    return Heads(network, names.themes, names.objects, data.size_px, ""), facts


def _pictures(root: Path) -> tuple[tuple[Picture, ...], Names]:
    """Pictures of the folder, and the names among them that have any, in label order."""
    if not root.is_dir():
        raise UserError(f"{root}: no such folder. Give one that holds {{style}}/{{object}}/{{i}}.jpg.")
    names = names_of(root)
    pictures = read_canvas(root, names, strict=False, what="folders {style}/{object}/{i}.jpg").pictures
    seen = {picture.style for picture in pictures}
    return pictures, Names(tuple(theme for theme in names.themes if theme in seen), names.objects)


def _recipe(settings: HeadsSettings) -> Recipe:
    over: dict[str, Any] = {"steps": settings.steps} if settings.steps else {}
    return Recipe(network=settings.network or "mini", **over)


def summary(facts: dict[str, Any]) -> str:
    """Held-out accuracies in words."""
    if not facts["held_out"]:
        return "no picture held out (one picture a style and object), so nothing is known of their accuracy"
    return (
        f"on {facts['held_out']} held-out pictures style {facts['style_top1']:.1%}, object {facts['object_top1']:.1%} "
        f"right ({facts['seconds']:.0f} s, {facts['steps']} steps on {facts['held_in']} pictures)"
    )


def file_digest(file: str) -> str:
    """Hash of a file's content; read again only when its time or length has changed."""
    return _file_digest(file, *_stat(file))


def _stat(file: str) -> tuple[int, int]:
    try:
        facts = Path(file).stat()
    except OSError:
        raise UserError(f"{file}: no such file of weights. Correct the settings.") from None
    return facts.st_mtime_ns, facts.st_size


@lru_cache(maxsize=8)
def _file_digest(file: str, _mtime_ns: int, _size: int) -> str:
    import hashlib

    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "blake2b").hexdigest()[:16]


@lru_cache(maxsize=8)
def _data_digest(root: Path) -> str:
    pictures, names = _pictures(root)
    examples = [Example(id=f"{p.style}/{p.object}/{p.number}", image=p.image) for p in pictures]
    contents = image_digests(examples)
    return digest([list(names.themes), list(names.objects), [e.id for e in examples], contents])


# ---- command ------------------------------------------------------------------------------------------------------
def train_heads(root: str, out: str, words: Sequence[str] = ()) -> int:
    """Train both heads on `root` and write them to `out`; `words` are settings of the recipe (steps=2000)."""
    from mmunlearn.settings import with_words

    recipe = build(Recipe, with_words({}, words), "")
    trained, facts = train_on(Path(root), recipe)
    write_heads(Path(out), trained, recipe.network, facts)
    print(f"{out}: {len(trained.styles)} styles, {len(trained.objects)} objects; {summary(facts)}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with the process's words; returns the exit code (0, 2 for wrong input, 1 for a fault, 130)."""
    import argparse

    from mmunlearn.cli import guarded

    parser = argparse.ArgumentParser(prog="python -m mmunlearn.diffusion.heads", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--root", required=True, help="folder {style}/{object}/{i}.jpg, or the parquet form")
    parser.add_argument("--out", required=True, help="folder for the heads")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.add_argument("words", nargs="*", help="settings of the recipe: network=… weights=… steps=… rate=… seed=…")
    options = parser.parse_args(argv)
    return guarded(lambda: train_heads(options.root, options.out, options.words), debug=options.debug)


if __name__ == "__main__":
    sys.exit(main())
