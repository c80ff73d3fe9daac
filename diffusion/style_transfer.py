"""Style-transfer losses: answers against the artists' own pictures of the same content.

    python -m mmunlearn.diffusion.style_transfer --root DATA --answers DIR --network vgg --weights FILE --out FILE

DIR holds {style}/{object}_test{19|20}_ref{1..18}.jpg, DATA the folder form. Networks: `vgg` (the normalised VGG-19 of
AdaIN and StyTr2, local file), `vit` (UnlearnCanvas's 61-way style classifier, local file) and `mini` (the trained style
and object heads, labelled so).

Differs from the repository: its VGG script does not compare answer and truth. It stylises the answer with the truth by
StyTr2 and compares the result with both, so the published Table A3 says as much about StyTr2; here, as the paper words
it, the two are compared. Its ViT script feeds pixels in 0..1 to a network trained on -1..1 (`raw_pixels`).
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from mmunlearn.atomic import write_json
from mmunlearn.errors import UserError
from mmunlearn.weights_file import load_strictly, read_weights

from .canvas.files import read_canvas
from .canvas.names import Names, names_of
from .canvas.pairs import Transfer, transfers
from .head_networks import PUBLISHED, TwoHeads, normalised, outputs_of, timm_network
from .heads import HeadsSettings, open_heads
from .picture_files import PictureTable, decode

Kind = Literal["vgg", "vit", "mini"]
EPSILON = 1e-5  # added to variances, as in AdaIN
VIT_BLOCKS = range(3, 24, 4)
VGG_CUTS = (4, 11, 18, 31, 44)  # relu1_1, relu2_1, relu3_1, relu4_1, relu5_1


@dataclass(frozen=True)
class LossNetwork:
    """levels: activations that losses compare, of pictures of `size_px`. tokens: a transformer's, (n, t, d), which have
    a style loss only (their mean squared difference); else maps (n, c, h, w)."""

    title: str
    size_px: int
    tokens: bool
    levels: Any


def vgg_layers() -> nn.Sequential:
    """VGG-19 up to relu5_1 with reflection padding, after a 1 × 1 convolution that takes the pixels in 0..1."""
    layers: list[nn.Module] = [nn.Conv2d(3, 3, 1)]
    plan: tuple[tuple[int, ...], ...]
    plan = ((3, 64, 64), (64, 128, 128), (128, 256, 256, 256, 256), (256, 512, 512, 512, 512))
    for widths in plan:
        for inside, outside in pairwise(widths):
            layers += [nn.ReflectionPad2d(1), nn.Conv2d(inside, outside, 3), nn.ReLU()]
        layers.append(nn.MaxPool2d(2, 2, 0, ceil_mode=True))
    return nn.Sequential(*layers, nn.ReflectionPad2d(1), nn.Conv2d(512, 512, 3), nn.ReLU())


def open_network(
    kind: Kind, weights: str, *, mini: HeadsSettings | None = None, raw_pixels: bool = False
) -> LossNetwork:
    """The network of `kind`. Raises UserError where its file is missing or holds another network."""
    if kind == "mini":
        heads = open_heads(mini)
        if not isinstance(heads.network, TwoHeads) or not hasattr(heads.network.trunk, "body"):
            raise UserError("style_transfer: network mini needs the small heads; give vit with a file for others.")
        body = cast(nn.Sequential, heads.network.trunk.body)
        return LossNetwork(f"mini ({heads.identity})", heads.size_px, False, lambda x: _through(body, normalised(x)))
    if not weights:
        raise UserError(f"style_transfer: network {kind} needs --weights, a local file.")
    tensors = read_weights(Path(weights))
    if kind == "vgg":
        network = vgg_layers()
        deeper = {k for k in tensors if k.partition(".")[0].isdecimal() and int(k.partition(".")[0]) >= VGG_CUTS[-1]}
        kept = {k: v for k, v in tensors.items() if k not in deeper}  # relu5_2 to relu5_4, which no loss looks at
        load_strictly(network, kept, weights, "Take vgg_normalised, the VGG of AdaIN and StyTr2.")
        network.eval().requires_grad_(False)
        ends = [cut - 1 for cut in VGG_CUTS]
        return LossNetwork("vgg", 512, False, lambda x: _through(network, x.float() / 255, ends))
    vit = timm_network(PUBLISHED, outputs_of(tensors) or 61)
    load_strictly(vit, tensors, weights, f"Take a style classifier of {PUBLISHED}.")
    vit.eval().requires_grad_(False)
    return LossNetwork("vit", 224, True, lambda x: _blocks(vit, x.float() / 255 if raw_pixels else normalised(x)))


def _through(layers: nn.Sequential, x: Tensor, keep: Sequence[int] | None = None) -> list[Tensor]:
    """Outputs of the layers numbered `keep` (all)."""
    kept = []
    for place, layer in enumerate(layers):
        x = layer(x)
        if keep is None or place in keep:
            kept.append(x)
    return kept


def _blocks(vit: Any, x: Tensor) -> list[Tensor]:
    """Tokens after the blocks 3, 7, 11, …, of one pass."""
    return list(vit.forward_intermediates(
        x, indices=[i for i in VIT_BLOCKS if i < len(vit.blocks)], return_prefix_tokens=True, output_fmt="NLC",
        intermediates_only=True, norm=False,
    ))  # fmt: skip


def losses(network: LossNetwork, answers: Sequence[Any], truths: Sequence[Any]) -> tuple[Tensor, Tensor | None]:
    """Style and content loss of each answer, (n,), from the levels of answers and truths.

    Style: sum over levels of the mean squared differences of the channels' means and of their standard deviations.
    Content: of the last two levels, each channel normalised over space, the mean squared difference (StyTr2's losses).
    """
    if network.tokens:
        return torch.stack([(gap**2).flatten(1).mean(1) for gap in _gaps(answers, truths)]).sum(0), None
    style = torch.zeros(len(answers[0]))
    content = torch.zeros(len(answers[0]))
    for place, (one, two) in enumerate(zip(answers, truths, strict=True)):
        (mean1, sd1), (mean2, sd2) = _statistics(one), _statistics(two)
        style = style + ((mean1 - mean2) ** 2).mean(1) + ((sd1 - sd2) ** 2).mean(1)
        if place >= len(answers) - 2:
            gap = (one - mean1[..., None, None]) / sd1[..., None, None]
            gap = gap - (two - mean2[..., None, None]) / sd2[..., None, None]
            content = content + (gap**2).flatten(1).mean(1)
    return style, content


def _gaps(answers: Sequence[Any], truths: Sequence[Any]) -> list[Tensor]:
    """Differences of tokens; what precedes the patches (the class token) is put before them."""

    def whole(level: Any) -> Tensor:
        return torch.cat([level[1], level[0]], 1) if isinstance(level, tuple) else level

    return [whole(one) - whole(two) for one, two in zip(answers, truths, strict=True)]


def _statistics(maps: Float[Tensor, "n c h w"]) -> tuple[Float[Tensor, "n c"], Float[Tensor, "n c"]]:
    """Mean and standard deviation (unbiased, with EPSILON) of each channel over space."""
    flat = maps.flatten(2)
    return flat.mean(2), (flat.var(2) + EPSILON).sqrt()


@torch.inference_mode()
def evaluate(
    tasks: Iterable[Transfer], folder: Path, network: LossNetwork, batch_size: int = 18
) -> list[dict[str, Any]]:
    """A row a task: style, object, content, file, style_loss, content_loss (None: no readable answer, with the reason).

    Answers of one content are compared with the truth, whose levels are made once, in batches.
    """
    table, rows = PictureTable(network.size_px), []
    for (style, thing, truth), group in groupby(tasks, key=lambda task: (task.style, task.object, task.truth)):
        levels = None
        several = list(group)
        for start in range(0, len(several), batch_size):
            part = several[start : start + batch_size]
            decoded = table.read([folder / task.file for task in part])
            told: dict[int, tuple[float, float | None]] = {}
            if decoded.places:
                levels = levels or network.levels(_one(truth, network.size_px))
                own_levels, copies = network.levels(decoded.pictures), _repeated(levels, len(decoded.places))
                style_loss, content = losses(network, own_levels, copies)
                for row, place in enumerate(decoded.places):
                    told[place] = (float(style_loss[row]), float(content[row]) if content is not None else None)
            for place, task in enumerate(part):
                own = told.get(place)
                rows.append({
                    "style": style, "object": thing, "content": Path(task.file).stem.partition("_ref")[0],
                    "file": task.file, "style_loss": own[0] if own else None, "content_loss": own[1] if own else None,
                    "why": decoded.refused.get(place, ""),
                })  # fmt: skip
    return rows


def _one(truth: Any, size_px: int) -> UInt8[Tensor, "1 3 size size"]:
    return torch.from_numpy(decode(truth, size_px))[None]


def _repeated(levels: Sequence[Any], count: int) -> list[Any]:
    """The levels of one picture for `count` answers, without copies."""

    def own(level: Any) -> Any:
        if isinstance(level, tuple):
            return tuple(map(own, level))
        return level.expand(count, *level.shape[1:])

    return [own(level) for level in levels]


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """By loss: mean, n, unscored, and how stable it is: the standard deviation within a style, within an object and
    within a content image of a style (over its references), each averaged over the groups.

    What the paper's "content" groups are is not said; its figures are the smallest, as within one content of a style.
    """
    found = {}
    groups = {"style": ("style",), "object": ("object",), "content": ("style", "object", "content")}
    for loss in ("style_loss", "content_loss"):
        able = [row for row in rows if row[loss] is not None]
        facts: dict[str, Any] = {"n": len(able), "unscored": len(rows) - len(able)}
        facts["mean"] = float(np.mean([row[loss] for row in able])) if able else None
        for name, keys in groups.items():
            parts: dict[tuple[str, ...], list[float]] = {}
            for row in able:
                parts.setdefault(tuple(row[key] for key in keys), []).append(row[loss])
            facts[f"sd_{name}"] = float(np.mean([np.std(part) for part in parts.values()])) if parts else None
        found[loss] = facts
    return found


def tasks_of(root: Path) -> list[Transfer]:
    """All tasks of the data under `root`. Raises UserError where the data hold no photographs or no indices."""
    names: Names = names_of(root, further=True)
    return list(transfers(read_canvas(root, names, strict=False, what="folders {style}/{object}/{i}.jpg")))


def measure(options: Any) -> int:
    """Measure, write and print."""
    root, folder = Path(options.root), Path(options.answers)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder. Give the one with {{style}}/{{object}}_test19_ref1.jpg.")
    network = open_network(
        options.network, options.weights, mini=HeadsSettings(root=str(root)), raw_pixels=options.raw_pixels
    )
    rows = evaluate(tasks_of(root), folder, network)
    told: dict[str, Any] = {"schema": 1, "network": network.title, "losses": summary(rows), "rows": rows}
    if not any(row["style_loss"] is not None for row in rows):
        raise UserError(f"{folder}: none of {len(rows):,} answers can be read (first: {rows[0]['why']}).")
    write_json(Path(options.out), told)
    for name, facts in told["losses"].items():
        print(f"{name}: {json.dumps(facts)}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with the process's words; returns the exit code (0, 2 for wrong input, 1 for a fault, 130)."""
    import argparse

    from mmunlearn.cli import guarded

    parser = argparse.ArgumentParser(prog="python -m mmunlearn.diffusion.style_transfer", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--root", required=True, help="the data in the folder form")
    parser.add_argument("--answers", required=True, help="folder of the transferred pictures")
    parser.add_argument("--network", choices=("vgg", "vit", "mini"), default="mini")
    parser.add_argument("--weights", default="", help="local file of the network")
    parser.add_argument("--raw-pixels", action="store_true", help="vit: pixels in 0..1, as the published script")
    parser.add_argument("--out", required=True, help="JSON file for the losses")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    options = parser.parse_args(argv)
    return guarded(lambda: measure(options), debug=options.debug)


if __name__ == "__main__":
    sys.exit(main())
