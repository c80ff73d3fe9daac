"""Time and storage of UCE's edit of Stable Diffusion 1.5's cross-attention against the scripts' way of doing it.

Usage, from the root: OMP_NUM_THREADS=1 python -m tests.bench.uce_edit [--prompts 1000] [--share 1] [--as-written]
32 random matrices in SD 1.5's shapes (768 -> 320, 640, 1280), one erased and a thousand preserved prompts of 77 random
CLIP-sized states. One side is this package's: one Gram of all prompts in float64, one factorisation, one product a
matrix. The other is the loop of UnlearnCanvas's and RECE's scripts: for each matrix and each prompt, the projections of
all matrices, then the sum of the tokens' outer products; here as one matrix product, which is kinder to it than a batch
of columns times rows, the way the scripts write it (--as-written times that too). Every prompt costs that loop the
same, so its time is taken on `share` preserved prompts and multiplied. Times are processor seconds, which other work on
the machine does not lengthen. States are given to both sides: the scripts also encode every prompt once a matrix, here
it is once. The edits of the share are compared. Storage: the file of the edited tensors against the bytes of the whole
pipeline's parameters in float32.
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch
from mmunlearn.diffusion.methods._closed_form import Equations, multiply
from safetensors.torch import save_file
from torch import nn

WIDTHS = [320] * 5 + [640] * 5 + [1280] * 6
LENGTH, TEXT = 77, 768
KEEP, ERASE, PRESERVE = 1.0, 0.05, 0.1
AT_ONCE = 64


def matrices() -> dict[str, nn.Linear]:
    """to_k and to_v of sixteen blocks."""
    torch.manual_seed(0)
    return {f"{i}.{part}": nn.Linear(TEXT, out, bias=False) for i, out in enumerate(WIDTHS) for part in ("k", "v")}


def ours(layers, concept, guide, held) -> None:
    """Edit `layers` in place."""
    equations = Equations(TEXT, KEEP)
    equations.move(concept, guide, ERASE)
    for start in range(0, len(held), AT_ONCE):
        equations.hold(held[start : start + AT_ONCE].flatten(0, 1), PRESERVE)
    multiply(layers, equations.matrix())


def token_by_token(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Sum over tokens of column times row, as the scripts write it."""
    return (left[:, :, None] @ right[:, None, :]).sum(0)


def in_one(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """The same sum as one product."""
    return left.mT @ right


@torch.no_grad()
def scripts(layers, concept, guide, held, outer) -> tuple[dict[str, torch.Tensor], list[float]]:
    """The edited weights, and the seconds that each preserved prompt took over all matrices."""
    edited, seconds, projections = {}, [0.0] * len(held), list(layers.values())
    for index, (name, layer) in enumerate(layers.items()):
        left, right = KEEP * layer.weight, KEEP * torch.eye(TEXT)
        values = [other(guide) for other in projections]
        left, right = left + ERASE * outer(values[index], concept), right + ERASE * outer(concept, concept)
        for i, states in enumerate(held):
            started = time.process_time()
            values = [other(states) for other in projections]
            left = left + PRESERVE * outer(values[index], states)
            right = right + PRESERVE * outer(states, states)
            seconds[i] += time.process_time() - started
        edited[name] = left @ torch.inverse(right)
    return edited, seconds


def pipeline_bytes() -> int:
    """Parameters of SD 1.5's U-Net, text encoder and VAE in float32, counted without memory for them."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    with torch.device("meta"):
        parts = [
            UNet2DConditionModel(cross_attention_dim=TEXT, block_out_channels=(320, 640, 1280, 1280)),
            CLIPTextModel(CLIPTextConfig(hidden_size=TEXT, intermediate_size=3072, num_hidden_layers=12)),
            AutoencoderKL(block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4, **blocks),
        ]
    return 4 * sum(p.numel() for part in parts for p in part.parameters())


def main() -> None:
    """Print both times, their ratio, the greatest difference of the edits, and both sizes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=1000)
    parser.add_argument("--share", type=int, default=1)
    parser.add_argument("--as-written", action="store_true")
    given = parser.parse_args()
    draw = torch.Generator().manual_seed(1)
    states = torch.randn(given.prompts + 2, LENGTH, TEXT, generator=draw)
    concept, guide, held = states[0], states[1], states[2:]

    slow = {}
    for outer in (in_one, token_by_token)[: 1 + given.as_written]:
        layers = matrices()
        expected, seconds = scripts(layers, concept, guide, held[: given.share], outer)
        ours(layers, concept, guide, held[: given.share])
        apart = max((expected[name] - layer.weight).abs().max().item() for name, layer in layers.items())
        slow[outer.__name__] = sum(seconds) / len(seconds) * len(held)
        print(
            f"scripts, {outer.__name__}: {slow[outer.__name__]:.0f} s ({len(seconds)} of {len(held)} prompts timed, "
            f"{min(seconds):.2f} to {max(seconds):.2f} s each, multiplied); edits differ by at most {apart:.1e}"
        )
    layers = matrices()
    started = time.process_time()
    ours(layers, concept, guide, held)
    fast = time.process_time() - started
    print(f"this package: {fast:.2f} s for {len(held)} preserved prompts and {len(layers)} matrices")
    for name, seconds in slow.items():
        print(f"ratio to {name}: {seconds / fast:.0f} x")

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "edit.safetensors"
        save_file({name: layer.weight.detach() for name, layer in layers.items()}, file)
        edit = file.stat().st_size
    whole = pipeline_bytes()
    print(f"storage: {edit / 1e6:.1f} MB of edited tensors, {whole / 1e6:.0f} MB whole: 1/{whole / edit:.0f}")


if __name__ == "__main__":
    main()
