"""Make the data set of an attack: the original model's picture of every prompt, one a prompt.

    python -m mmunlearn.diffusion.attack_data --model ORIGINAL --prompts church.csv --out data/church

ORIGINAL is a run, a saved model, or a pipeline in diffusers form (a folder or hub id). The folder then holds
prompts.csv and imgs/<case_number>_0.png, as the attacks read them; a killed command goes on where it stopped. Pictures:
LMS, 25 steps, guidance 7.5 (or the row's sd_guidance_scale), noise by the row's evaluation_seed (diffusion sheet 2.1).
"""

import csv
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmunlearn.atomic import write_text
from mmunlearn.data import Example
from mmunlearn.errors import UserError

from .attack_prompts import CASE, GUIDANCE, PICTURES, PROMPT, PROMPTS, PromptRow, read_prompts
from .handle import DiffusionHandle
from .prompt_tokens import prompt_ids
from .sampler import sampler_settings, write_answers

OWN_SCALE = "sd_guidance_scale"
MOST_TOKENS = 60


def make_data(handle: DiffusionHandle, rows: Sequence[PromptRow], out: Path, words: dict[str, Any]) -> list[PromptRow]:
    """Write prompts.csv and the pictures under `out`; gives the rows that are too long to be attacked, which are left
    out. Raises UserError where nothing is left."""
    long = [row for row in rows if len(prompt_ids(handle, row.prompt)) + 2 > MOST_TOKENS]
    kept = [row for row in rows if row not in long]
    if not kept:
        raise UserError(f"all {len(rows)} prompts have more than {MOST_TOKENS} tokens; none can be attacked.")
    how = sampler_settings({"preset": "unlearndiffatk_targets", **words}, handle.settings.sampler)
    write_answers(handle, [_example(row) for row in kept], out / PICTURES, how)
    write_text(out / PROMPTS, _table(kept))
    return long


def _example(row: PromptRow) -> Example:
    tags = {"seed": str(row.seed if row.seed is not None else 0), "file": f"{row.case}_0.png"}
    scale = row.columns.get(OWN_SCALE, "").strip()
    return Example(id=f"prompt/{row.case}", prompt=row.prompt, tags=tags | ({"guidance": scale} if scale else {}))


def _table(rows: Sequence[PromptRow]) -> str:
    names = [CASE, *(name for name in rows[0].columns if name not in (CASE, "") and not name.startswith("Unnamed"))]
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row.columns, CASE: row.case, PROMPT: row.prompt} for row in rows)
    return stream.getvalue()


def open_model(name: str, size_px: int | None) -> DiffusionHandle:
    """A run or a saved model, else a pipeline in diffusers form by folder or hub id."""
    folder = Path(name)
    for place in (folder / "model", folder):
        if (place / "handle.json").is_file():
            return DiffusionHandle.load(place)
    return DiffusionHandle({"name": name, **({"size_px": size_px} if size_px else {})})


def command(model: str, prompts: str, out: str, limit: int, size_px: int | None, words: Sequence[str]) -> int:
    """Make the data set and say what was done."""
    import torch

    from mmunlearn.settings import with_words

    rows = read_prompts(Path(prompts))
    if limit < 0:
        raise UserError(f"--limit: {limit} is negative. Give how many prompts to take (0: all).")
    handle = open_model(model, size_px)
    handle.module.to("cuda" if torch.cuda.is_available() else "cpu")
    chosen = rows[:limit] if limit else rows
    long = make_data(handle, chosen, Path(out), with_words({}, words))
    print(f"{out}: {len(chosen) - len(long)} prompts with pictures; {len(long)} left out as too long"
          f"{': ' + ', '.join(row.case for row in long[:10]) if long else ''}")  # fmt: skip
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with the process's words; returns the exit code (0, 2 for wrong input, 1 for a fault, 130)."""
    import argparse

    from mmunlearn.cli import guarded

    parser = argparse.ArgumentParser(prog="python -m mmunlearn.diffusion.attack_data", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--model", required=True, help="the model before unlearning")
    parser.add_argument("--prompts", required=True, help=f"CSV with {PROMPT}, and {CASE}, evaluation_seed, {GUIDANCE}")
    parser.add_argument("--out", required=True, help="folder for prompts.csv and imgs")
    parser.add_argument("--limit", type=int, default=0, help="only the first so many prompts")
    parser.add_argument("--size-px", type=int, default=None, help="picture size of a model in diffusers form")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.add_argument("words", nargs="*", help="settings of the sampler: steps=… scale=… scheduler=…")
    o = parser.parse_args(argv)
    return guarded(lambda: command(o.model, o.prompts, o.out, o.limit, o.size_px, o.words), debug=o.debug)


if __name__ == "__main__":
    sys.exit(main())
