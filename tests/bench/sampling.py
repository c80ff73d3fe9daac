"""An answer set sampled by the one sampler against the published scripts' way: one picture at a time, two passes.

    OMP_NUM_THREADS=1 python tests/bench/sampling.py [SEEDS]

Both sides draw the same prompts and seeds with the same random weights (UnlearnCanvas's mini architecture, a larger
text encoder), DDIM, guidance 9, the same initial noise, and write JPEG files. The loop does what the published scripts
do (facts: diffusion 1.3, 1.4): for every picture the prompt and the empty prompt are tokenised and encoded again, every
step asks the model once without and once with the prompt in batches of one, the picture is decoded and saved. Ours:
write_answers, which encodes each prompt once, asks in one pass of twice the batch, and also hashes the model. Pictures
must agree to eight of 255 in every pixel, since JPEG makes a step of a rounding, and in the mean to a twentieth. Time
of files and of decoding counts on both sides; seconds are of the clock and, since other work on the machine lengthens
those, of the processor. Target 1.3x of processor time on one CPU thread, where a batch saves the calls alone and no
arithmetic; an accelerator gains by its width on top of that.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from mmunlearn.diffusion.conditioning import EncodingCache
from mmunlearn.diffusion.handle import DiffusionHandle
from mmunlearn.diffusion.sampler import encoded, initial_noise, request_of, write_answers
from mmunlearn.diffusion.settings import SamplerSettings
from PIL import Image

from mmunlearn.data import Example

STYLES, OBJECTS = ("Cubism", "Photo", "Van Gogh"), ("Dogs", "Sea", "Towers", "Trees")
HOW = SamplerSettings(steps=10, scale=9.0, batch_size=32)
MODEL = {
    "name": "scratch/sd", "vae": "unshuffle", "size_px": 32,
    "architecture": {
        "denoiser": {"block_out_channels": [64, 128], "attention_head_dim": [1, 2]},
        "text_encoder": {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 6,
                         "num_attention_heads": 4, "max_position_embeddings": 77},
    },
}  # fmt: skip
TARGET = 1.3


def answer_set(seeds: int) -> list[Example]:
    """Every style with every object for each seed."""
    return [
        Example(
            id=f"{style}/{thing}/{seed}", prompt=f"A {thing} image in {style} style.",
            tags={"seed": str(seed), "file": f"{style}_{thing}_seed{seed}.jpg".replace(" ", "_")},
        )
        for style in STYLES for thing in OBJECTS for seed in range(188, 188 + 100 * seeds, 100)
    ]  # fmt: skip


@torch.no_grad()
def loop(handle: DiffusionHandle, examples: list[Example], folder: Path) -> None:
    """One by one."""
    folder.mkdir()
    for example in examples:
        request = request_of(example, HOW, 0)
        handle._tokens.clear()
        condition, empty = (handle.encode_tokens(handle.tokenise([text])) for text in (request.prompt, ""))
        noise = initial_noise(request, HOW, handle.latent_shape())[None]
        solver = handle.schedule.solver(HOW.scheduler, HOW.steps, handle.family.picture_tokens(noise))
        latents = solver.start(noise)
        for i, t in enumerate(solver.times):
            seen = solver.seen(latents, i)
            low, high = handle.predict(seen, t, empty), handle.predict(seen, t, condition)
            latents = solver.step(low + HOW.scale * (high - low), latents, i)
        file = folder / example.tags["file"]
        file.write_bytes(encoded(handle.decode(latents)[0], file.suffix, HOW.quality))


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of the clock and of the processor."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def main(seeds: int = 2) -> float:
    """Print both times and their ratios; returns that of processor time."""
    handle, examples = DiffusionHandle(MODEL, 0), answer_set(seeds)
    handle.module.eval()
    with tempfile.TemporaryDirectory() as folder:
        one, other, first = (Path(folder) / name for name in ("loop", "ours", "first"))
        write_answers(handle, examples[:2], first, HOW)  # first-call costs
        handle.encodings = EncodingCache()  # and nothing kept of it
        slow_s, slow_cpu_s = timed(lambda: loop(handle, examples, one))
        fast_s, fast_cpu_s = timed(lambda: write_answers(handle, examples, other, HOW))
        gaps = np.stack([
            np.abs(np.subtract(*(np.asarray(Image.open(place / name), dtype=int) for place in (one, other))))
            for name in sorted(example.tags["file"] for example in examples)
        ])  # fmt: skip
    told = f"differences up to {gaps.max()} of 255, {gaps.mean():.4f} in the mean"
    assert gaps.max() <= 8 and gaps.mean() <= 0.05, told
    print(f"{len(examples)} pictures of 32 px, {HOW.steps} steps; {told}")
    print(f"one by one {slow_s:.1f} s, in batches {fast_s:.1f} s: {slow_s / fast_s:.1f}x")
    ratio = slow_cpu_s / fast_cpu_s
    print(f"processor time {slow_cpu_s:.1f} s, {fast_cpu_s:.1f} s: {ratio:.1f}x (target {TARGET:g}x)")
    return ratio


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 2)
