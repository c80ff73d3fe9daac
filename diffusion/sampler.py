"""The one sampler of the package: seeded per picture, batched, guided in one pass, resumable by file.

A picture depends on the model, its request and the settings; not on batch size, order or number of processes (beyond
the rounding of other kernels for other batch sizes).
"""

import hashlib
import io
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from mmunlearn.atomic import write_bytes, write_json
from mmunlearn.data import Example
from mmunlearn.errors import UserError
from mmunlearn.seeds import derive
from mmunlearn.settings import build, merge, plain

from . import prompt_tokens
from .conditioning import Condition
from .guard import Guard, GuardStep
from .schedule import Solver
from .settings import SamplerSettings

if TYPE_CHECKING:
    from .handle import DiffusionHandle

MARKER = ".answers.json"

# The samplers behind UnlearnCanvas's published answer sets, by script. CompVis's, Forget-Me-Not's and SEOT's loops drew
# from one running generator or one generator a picture; what carries over is whether prompts of a seed share their
# noise. SPM's also had a long negative prompt, whose words belong into `negative`.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "uniform": {},
    "compvis": {"scheduler": "ddim", "steps": 100, "scale": 9.0, "latents": "per_image", "precision": "float16"},
    "uce": {"scheduler": "lms", "steps": 100, "scale": 9.0, "latents": "shared", "precision": "float16"},
    "forget_me_not": {
        "scheduler": "pndm", "steps": 100, "scale": 9.0, "latents": "per_image", "precision": "float16",
        "prompt": "file",
    },
    "spm": {"scheduler": "pndm", "steps": 100, "scale": 7.5, "latents": "shared"},
    "seot": {"scheduler": "ddim", "steps": 50, "scale": 9.0, "latents": "shared"},
    # Of attacks (diffusion sheet 2.1, 2.4): judged pictures, and the original's pictures that are their targets.
    "unlearndiffatk": {"scheduler": "lms", "steps": 50, "scale": 7.5, "latents": "shared"},
    "unlearndiffatk_targets": {"scheduler": "lms", "steps": 25, "scale": 7.5, "latents": "shared"},
}  # fmt: skip


@dataclass(frozen=True)
class Request:
    """One picture to sample. index: place in the answer set's grid; None keys the noise by the prompt's text. coded:
    token ids that are asked instead of the prompt's; its noise is that of its plain prompt. scale: of this picture's
    guidance; None: the settings'."""

    prompt: str
    seed: int
    index: int | None = None
    negative: str = ""
    coded: prompt_tokens.Coded | None = None
    scale: float | None = None


def sampler_settings(fields: Mapping[str, Any], under: Mapping[str, Any] | None = None) -> SamplerSettings:
    """Settings from words: `preset` names a row of PRESETS, over which the other words lie; `under` lies below all.

    Raises UserError for an unknown preset or word.
    """
    words = dict(fields)
    preset = words.pop("preset", None)
    if preset is not None and preset not in PRESETS:
        raise UserError(f"decoding.preset: {preset!r} is unknown. Choose one of {', '.join(PRESETS)}.")
    content = merge(merge(under or {}, PRESETS[preset] if preset else {}), words)
    return build(SamplerSettings, content, "decoding")


def initial_noise(
    request: Request, how: SamplerSettings, shape: Sequence[int]
) -> Float[Tensor, "channel height width"]:
    """Unit noise of one picture, on the CPU. "shared" is the noise of a diffusers pipeline whose generator is seeded
    with the request's seed."""
    seed = request.seed
    if how.latents == "per_image":
        prompt = request.coded.plain if request.coded else request.prompt
        seed = derive(seed, "latents", prompt if request.index is None else request.index)
    return torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def sample(
    handle: "DiffusionHandle", requests: Sequence[Request], how: SamplerSettings
) -> Iterator[tuple[Request, Tensor]]:
    """Each request with its picture, uint8 (3, height, width) on the CPU, in order."""
    modes = [(layer, layer.training) for layer in handle.module.modules()]
    try:
        for start in range(0, len(requests), how.batch_size):
            part = requests[start : start + how.batch_size]
            handle.module.eval()
            pictures = handle.decode(_latents(handle, part, how)).cpu()
            yield from zip(part, pictures, strict=True)
    finally:
        for layer, training in modes:
            layer.training = training


def _latents(handle: "DiffusionHandle", part: Sequence[Request], how: SamplerSettings) -> Tensor:
    """Clean latents of one batch of requests, those with guidance of their own in a pass of their own."""
    scales = [how.scale if request.scale is None else request.scale for request in part]
    if set(scales) != {how.scale}:
        groups = {s: [i for i, own in enumerate(scales) if own == s] for s in scales}
        made = [
            _latents(handle, [replace(part[i], scale=None) for i in rows], how.model_copy(update={"scale": s}))
            for s, rows in groups.items()
        ]
        order = torch.tensor([i for rows in groups.values() for i in rows]).argsort()
        return torch.cat(made)[order.to(made[0].device)]
    texts = [request.prompt for request in part]
    guard = handle.guard or Guard()
    condition = guard.condition(handle, texts, _encoded(handle, part))
    empty = handle.unconditional([request.negative or how.negative for request in part])
    empty = guard.unconditional(handle, texts, empty)
    shape = handle.latent_shape(how.size_px)
    noise = torch.stack([initial_noise(request, how, shape) for request in part]).to(handle.device)
    solver = handle.schedule.solver(how.scheduler, how.steps, handle.family.picture_tokens(noise))
    with guard.hooks(handle, texts), _precision(handle, how):
        steps = walk(handle, solver, noise, (condition, empty), how.scale, guard=handle.guard, texts=texts)
        _, _, clean = deque(steps, maxlen=1).pop()
    return clean


def _encoded(handle: "DiffusionHandle", part: Sequence[Request]) -> Condition:
    """Condition of requests by text or by token ids, in their order."""
    coded = [i for i, request in enumerate(part) if request.coded]
    if not coded:
        return handle.encode([request.prompt for request in part])
    plain = [i for i, request in enumerate(part) if not request.coded]
    made = prompt_tokens.encoded(handle, [request.coded for request in part if request.coded])
    if plain:
        made = made.cat(handle.encode([part[i].prompt for i in plain]))
    order = torch.tensor([*coded, *plain]).argsort()
    return made.index(order)


def _precision(handle: "DiffusionHandle", how: SamplerSettings) -> AbstractContextManager[Any]:
    if how.precision == "model":
        return nullcontext()
    return torch.autocast(handle.device.type, getattr(torch, how.precision))


def walk(
    handle: "DiffusionHandle",
    solver: Solver,
    noise: Float[Tensor, "batch channel height width"],
    pair: tuple[Condition, Condition],
    scale: float,
    *,
    guard: Guard | None = None,
    texts: Sequence[str] = (),
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """(step, time, latents) before every step of the solver, and (steps, 0, clean latents) at the end.

    Stop early for latents at an intermediate time, as ESD's and SPM's training needs them. pair: the prompts'
    condition and the unconditional one. Solvers that scale the model's input are for whole walks only.
    """
    condition, empty = pair
    latents, total = solver.start(noise), len(solver.times)
    further = guard.further(handle, texts) if guard else None
    memory: dict[str, Any] = {}
    for i in range(total):
        t = solver.times[i].to(latents.device)
        yield i, t, latents
        seen = solver.seen(latents, i)
        if guard is None:
            prediction = handle.guided(seen, t, condition, empty, scale)
        else:
            step = GuardStep(i, total, t, tuple(texts), scale, memory)
            prediction = _guarded(handle, guard, step, seen, (condition, empty, further))
        latents = solver.step(prediction.to(latents.dtype), latents, i)
    yield total, solver.times[-1].new_zeros(()), latents


def _guarded(
    handle: "DiffusionHandle",
    guard: Guard,
    step: GuardStep,
    seen: Tensor,
    conditions: tuple[Condition, Condition, Condition | None],
) -> Tensor:
    condition, empty, further = conditions
    condition = guard.at_step(handle, step, seen, condition)
    rows = empty.cat(condition) if further is None else empty.cat(condition, further)
    n = len(seen)
    made = handle.predict(seen.repeat(len(rows) // n, 1, 1, 1), step.t, rows)
    low, high, third = made[:n], made[n : 2 * n], made[2 * n :] if further is not None else None
    guided = guard.guidance(step, low, high, third)
    return low + step.scale * (high - low) if guided is None else guided


# ---- answer sets ----------------------------------------------------------------------------------------------
def request_of(example: Example, how: SamplerSettings, seed: int) -> Request:
    """What an example asks for: its prompt and its tags `seed`, `index`, `negative`, `guidance`, `tokens`. Examples
    without a seed of their own draw one from `seed` and their id."""
    if example.prompt is None:
        raise UserError(f"{example.id}: has no prompt to sample.")
    tags, prompt = example.tags, example.prompt
    if how.prompt == "file" and "style" in tags and "object" in tags:
        prompt = f"A {tags['object']} image in {tags['style']} style"
    try:
        own = int(tags["seed"]) if "seed" in tags else derive(seed, "sample", example.id)
        index = int(tags["index"]) if "index" in tags else None
        scale = float(tags["guidance"]) if "guidance" in tags else None
    except ValueError:
        raise UserError(f"{example.id}: its tags seed and index must be whole numbers, guidance a number.") from None
    return Request(prompt, own, index, tags.get("negative", ""), prompt_tokens.coded_of(example), scale)


def file_name(example: Example) -> str:
    """The picture's file: tag `file` (an answer set's {theme}_{object}_seed{seed}.jpg), or a name made from the id."""
    name = example.tags.get("file")
    if name is None:
        return hashlib.blake2b(example.id.encode(), digest_size=12).hexdigest() + ".jpg"
    if name != Path(name).name or name.startswith("."):
        raise UserError(f"{example.id}: its file {name!r} is no plain file name.")
    return name


def write_answers(
    handle: "DiffusionHandle", examples: Sequence[Example], folder: Path, how: SamplerSettings, seed: int = 0
) -> dict[str, Path]:
    """Sample what is missing in `folder`, one file an example; gives each example's file by id.

    Files appear whole or not at all, so a killed process loses the batch it was at. Raises UserError where the folder
    holds pictures of another model or other settings, and where it cannot be written.
    """
    files = {example.id: folder / file_name(example) for example in examples}
    if len(set(files.values())) != len(examples):
        raise UserError(f"{folder}: two examples would be written to the same file. Make their ids and files differ.")
    _mark(handle, folder, how)
    missing = [example for example in examples if not files[example.id].is_file()]
    asked = [request_of(example, how, seed) for example in missing]
    for example, (_, picture) in zip(missing, sample(handle, asked, how), strict=True):
        write_bytes(files[example.id], encoded(picture, files[example.id].suffix, how.quality))
    return files


def _mark(handle: "DiffusionHandle", folder: Path, how: SamplerSettings) -> None:
    """Say in the folder which model and settings its pictures come from; refuse others."""
    facts = {"sampler": plain(how.model_copy(update={"batch_size": 1})), "model": handle.digest()}
    marker = folder / MARKER
    if not marker.is_file():
        write_json(marker, facts)
        return
    import json

    try:
        told = json.loads(marker.read_text(encoding="utf-8"))
    except ValueError:
        told = {}
    if told != facts:
        what = "another model" if told.get("model") != facts["model"] else "other sampler settings"
        raise UserError(f"{folder}: holds pictures of {what}. Choose another folder or remove it.")


def encoded(picture: Tensor, suffix: str, quality: int) -> bytes:
    """The picture's file content: JPEG for .jpg and .jpeg, PNG otherwise."""
    from PIL import Image

    image = Image.fromarray(picture.permute(1, 2, 0).contiguous().numpy())
    buffer = io.BytesIO()
    if suffix.lower() in (".jpg", ".jpeg"):
        image.save(buffer, "JPEG", quality=quality, subsampling=0 if quality >= 90 else -1)
    else:
        image.save(buffer, "PNG")
    return buffer.getvalue()
