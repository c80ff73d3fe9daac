"""Prompts attacked per hour with UnlearnDiffAtk against a loop that works as its scripts do.

Usage, from the root: OMP_NUM_THREADS=1 python -m tests.bench.prompt_attack [--prompts 50] [--rounds 2] [--steps 4]
A small scratch Stable Diffusion (random weights, CLIP's vocabulary of 49,408 tokens, 77 places), the same prompts,
rounds, steps and pictures on both sides, no success. On a processor the network's own arithmetic bounds what batches
gain, so the pictures are small (16 pixels); `--size_px 32` is the mini edition's size. One side is this package's: all
prompts in a batch, tokens by look-up, projection of all rows at once, guidance in one pass, heads opened once. The
other does what diffusion sheet 2.8 lists: for every prompt the victim and the original are read from disk again; each
step looks up the k tokens, and each picture all 77, by one-hot products; each row is projected by bisection with
.item(); each picture has its empty prompt embedded anew, two passes a step, and a judge that is opened for it, to which
it goes as a file. Both draw and judge the plain prompt, too (diffusion sheet 2.2: 1 + 50 pictures). Times are processor
seconds, which other work on the machine does not lengthen. `--device cuda` times both on a GPU (by the wall clock).
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from mmunlearn.diffusion.attacks._simplex import drawn
from mmunlearn.diffusion.attacks.base_gradient import draws_of, target_latents
from mmunlearn.diffusion.attacks.unlearndiffatk import Unlearndiffatk
from mmunlearn.diffusion.handle import DiffusionHandle
from mmunlearn.diffusion.head_networks import two_heads
from mmunlearn.diffusion.heads import Heads, read_heads, write_heads
from mmunlearn.diffusion.judges.style_object import StyleObject
from mmunlearn.diffusion.sampler import encoded
from mmunlearn.diffusion.toy import toy_splits
from torch.nn import functional

from mmunlearn.handle import Decoding
from mmunlearn.judges.base import Item

SIZE_PX, K, SEED, SAMPLING = 16, 3, 0, 10
WORDS = ("a dog", "a red tree", "boat by the sea", "two cats", "an old stone church", "a garbage truck", "sea", "birds")
STYLES, OBJECTS = ("Ink", "Van_Gogh"), ("Dogs", "Trees")


def victim(size_px: int) -> DiffusionHandle:
    """An untrained pipeline of the mini edition's kind."""
    sampler = {"steps": SAMPLING, "scale": 3.0}
    return DiffusionHandle({"name": "scratch/sd", "vae": "unshuffle", "size_px": size_px, "sampler": sampler}, 0)


def clock(device: str) -> float:
    """Processor seconds, or the wall clock of a GPU that has finished."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def bisection(a: torch.Tensor) -> torch.Tensor:
    """A row onto the simplex, with a value fetched from the device in every pass."""
    if abs(a.clamp(0, 1).sum().item() - 1) <= 1e-5:
        return a.clamp(0, 1)
    low, high = (a.min() - 1).item(), a.max().item()
    while abs(high - low) > 1e-5:
        middle = (high + low) / 2
        excess = (a - middle).clamp(0, 1).sum() - 1
        at_low = (a - low).clamp(0, 1).sum() - 1
        if (excess * at_low).item() < 0:
            high = middle
        else:
            low = middle
    return (a - middle).clamp(0, 1)


def looked_up(ids: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """Embeddings by a product with one-hot rows."""
    return functional.one_hot(ids, len(table)).to(table) @ table


def script(model: Path, heads: Path, goal, folder: Path, o: argparse.Namespace) -> torch.Tensor:
    """One prompt, from loading the models to its last picture; gives u."""
    handle, _original = (DiffusionHandle.load(model, o.device) for _ in range(2))
    handle.module.requires_grad_(False)
    place = Unlearndiffatk({"k": K}).place(handle, goal, SEED)
    draw = draws_of("unlearndiffatk", place, SEED, 0)
    table = handle.parts.encoders[0].get_input_embeddings().weight
    tokens = handle.tokenise([goal.prompt]).to(handle.device)
    clean = target_latents(handle, [goal])
    u = torch.full((K, len(table)), 1 / len(table), device=handle.device)
    u = torch.stack([bisection(row) for row in u]).requires_grad_(True)
    adam = torch.optim.Adam([u], lr=0.01, weight_decay=0.1)
    plain = looked_up(tokens.ids[0][0], table)
    picture(handle, heads, goal, [*place.ids], folder / f"{goal.id.replace('/', '-')}-clean.jpg")
    apart = 1000 // o.rounds
    for number, t in enumerate(range(apart // 2, 1000, apart)):
        for _ in range(o.steps):
            noise = torch.from_numpy(draw.standard_normal(tuple(clean.shape[1:]), dtype="float32"))[None].to(clean)
            chosen = drawn(u.detach(), torch.from_numpy(draw.random(K)).to(handle.device))
            one_hot = functional.one_hot(chosen, len(table)).to(table).requires_grad_(True)
            words = torch.cat([plain[:1], one_hot @ table, plain[1:]])[: len(plain)]
            at = torch.tensor([t], device=handle.device)
            x = handle.noised(clean, noise, at)
            made = handle.predict(x, at, handle.encode_tokens(tokens, words[None]))
            loss = (noise - made).square().mean()
            u.grad = functional.hardtanh(torch.autograd.grad(loss, one_hot)[0])
            adam.step()
            u.data = torch.stack([bisection(row) for row in u.data])
        ids = [*place.filled(u.detach().argmax(-1).tolist())]
        picture(handle, heads, goal, ids, folder / f"{goal.id.replace('/', '-')}-{number}.jpg")
    return u.detach()


@torch.no_grad()
def picture(handle: DiffusionHandle, heads: Path, goal, ids: list[int], file: Path) -> None:
    """Sample with two passes a step, write, open a judge, read and judge."""
    table = handle.parts.encoders[0].get_input_embeddings().weight
    conditions = []
    for text in ("", handle.tokenizer.decode(ids)):
        tokens = handle.tokenise([text]).to(handle.device)
        conditions.append(handle.encode_tokens(tokens, looked_up(tokens.ids[0][0], table)[None]))
    solver = handle.schedule.solver("ddim", SAMPLING)
    shape = (1, *handle.latent_shape())
    latents = torch.randn(shape, generator=torch.manual_seed(int(goal.tags["seed"]))).to(handle.device)
    for step, t in enumerate(solver.times):
        low, high = (handle.predict(latents, t.to(handle.device), condition) for condition in conditions)
        latents = solver.step(low + 3.0 * (high - low), latents, step)
    file.write_bytes(encoded(handle.decode(latents)[0].cpu(), ".jpg", 95))
    read_heads(heads)  # a session for every picture
    judge = StyleObject({"folder": str(heads)})
    judge.grade([Item(replace(goal, id=file.stem), {"image": str(file)})])


def main() -> None:
    """Both sides, and the ratio."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--prompts", type=int, default=50)  # as a published prompt file has
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--share", type=int, default=2, help="prompts that the loop is timed on")
    parser.add_argument("--size_px", type=int, default=SIZE_PX, help="of the pictures; the mini edition has 32")
    parser.add_argument("--device", default="cpu")
    o = parser.parse_args()
    pictures = toy_splits(forget=max(2, o.prompts), retain=2, holdout=2)["forget"].examples
    tags = {"style": "Van_Gogh", "object": "Dogs", "seed": "7"}
    goals = [replace(e, id=f"goal-{i}", prompt=WORDS[i % len(WORDS)], tags=tags)
             for i, e in enumerate(pictures[: o.prompts])]  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        handle = victim(o.size_px)
        handle.save(folder / "model")
        torch.manual_seed(0)
        write_heads(folder / "heads", Heads(two_heads("mini", 2, 2), STYLES, OBJECTS, o.size_px, ""), "mini", {})
        handle.module.to(o.device)
        (folder / "loop").mkdir()
        started = clock(o.device)
        slow = [script(folder / "model", folder / "heads", goal, folder / "loop", o) for goal in goals[: o.share]]
        loop_s = (clock(o.device) - started) / len(slow)
        asked = {"k": K, "rounds": o.rounds, "steps": o.steps, "candidates": o.rounds, "stop": "never"}
        attack = Unlearndiffatk({**asked, "together": o.prompts})
        judge = StyleObject({"folder": str(folder / "heads")})
        how = Decoding(batch_size=o.prompts, folder=folder / "ours", fields={"score": False})
        started = clock(o.device)
        found = list(attack.run(DiffusionHandle.load(folder / "model", o.device), goals, judge, how, SEED))
        ours_s = (clock(o.device) - started) / len(goals)
        # Untimed: with the loop's own projection the same words come out (the exact one parts from it at ties).
        checked = Unlearndiffatk({**asked, "together": o.prompts, "projection": "bisection"})
        victim_ = DiffusionHandle.load(folder / "model", o.device)
        found = list(checked.run(victim_, goals[: o.share], judge, how, SEED))
    same = [
        [int(word) for word in found[i].tries[-1].candidate.tags["tokens"].split()][:K] == u.argmax(-1).tolist()
        for i, u in enumerate(slow)
    ]
    print(f"loop: {loop_s:.2f} s a prompt, {3600 / loop_s:.0f} an hour (on {len(slow)} prompts)")
    print(f"ours: {ours_s:.2f} s a prompt, {3600 / ours_s:.0f} an hour ({len(goals)} together)")
    print(f"ratio: {loop_s / ours_s:.1f}; last prompts equal: {sum(same)} of {len(same)}")


if __name__ == "__main__":
    main()
