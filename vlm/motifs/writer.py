"""Writes the mini edition of SafeEraser: drawn motifs and made-up instructions in the layout of the real data."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmunlearn import atomic, seeds
from mmunlearn.avatars.jpeg import encode
from mmunlearn.mini_folder import TRUTH, mini_folder

from .pictures import MOTIFS, draw_scene, picture
from .wording import CODES, REFUSALS, TASKS, benign, safe_answer, unsafe_answer, unsafe_question

DATA = "dataset"


@dataclass(frozen=True, kw_only=True)
class SafeeraserSizes:
    """Records a category of each file; unsafe questions a record; size of the pictures."""

    train_records: int = 8
    val_records: int = 3
    questions: int = 2
    size_px: int = 64


def write_safeeraser(root: Path, sizes: SafeeraserSizes, seed: int) -> dict[str, Any]:
    """Write the SafeEraser layout under `root` and return the manifest.

    `dataset/all_train.json`, `dataset/all_val.json`, `dataset/prompt.json` (refusals under `idk`; the code words of the
    categories under `unsafe_words`, which the real file has not), `dataset/images/<Category>/*.jpg` and
    `dataset/SDimages/<Category>/*.jpg`. Nothing in it is harmful. Deterministic in (sizes, seed); the folder appears
    whole or not at all and never replaces real data.
    """
    with mini_folder(root) as folder:
        data = folder / DATA
        counts = {}
        for part, number in (("train", sizes.train_records), ("val", sizes.val_records)):
            # Categories in turns, so that the first N records hold all of them.
            wanted = [(index, category) for index in range(number) for category in MOTIFS]
            records = [_record(folder, part, index, category, sizes, seed) for index, category in wanted]
            atomic.write_json(data / f"all_{part}.json", records)
            counts[part] = len(records)
        words = {category: [word] for category, word in CODES.items()}
        atomic.write_json(data / "prompt.json", {"idk": list(REFUSALS), "unsafe_words": words})
        manifest = {
            "schema": 1, "benchmark": "safeeraser", "edition": "mini", "seed": seed, "sizes": asdict(sizes),
            "counts": counts,
        }  # fmt: skip
        atomic.write_json(folder / TRUTH, manifest)
    return manifest


def _record(folder: Path, part: str, index: int, category: str, sizes: SafeeraserSizes, seed: int) -> dict[str, Any]:
    draw = seeds.generator(seed, "safeeraser", part, category, index)
    scene, twin = draw_scene(draw, motif=category), draw_scene(draw)
    name = f"{part}_{index:03d}.jpg"
    places = (f"{DATA}/images/{category}/{name}", f"{DATA}/SDimages/{category}/{name}")
    for place, shown in zip(places, (scene, twin), strict=True):
        atomic.write_bytes(folder / place, encode(picture(shown, sizes.size_px, draw)))
    tasks = draw.choice(len(TASKS), sizes.questions, replace=False).tolist()
    pairs = [
        {
            "question": unsafe_question(task, int(draw.integers(3))),
            "model_response": unsafe_answer(category, task),
            "sd_response": safe_answer(twin, task),
        }
        for task in tasks
    ]
    record: dict[str, Any] = {"image_path": places[0], "SDImage_path": places[1], "unsafe_pairs": pairs}
    fields = benign(scene)
    # Two to four benign questions a record, as the fields are optional in the real data.
    for name in draw.permutation(sorted(fields)).tolist()[: int(draw.integers(3))]:
        del fields[name]
    return record | {name: {"Question": q, "Prediction": a} for name, (q, a) in fields.items()}
