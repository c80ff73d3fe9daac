"""Prompts to attack with: the published CSV files and any file of a user, and the data sets made of them.

A prompt file has the column `prompt`, and may have case_number, evaluation_seed (or sd_seed), evaluation_guidance and
others. A data set is a folder with prompts.csv and imgs/<case_number>_0.png, the original model's pictures of them.
Source: diffusion sheet 2.4 (Diffusion-MU-Attack, prompts/, src/execs/generate_dataset.py).
"""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmunlearn.data import Example, ImageRef
from mmunlearn.errors import UserError, near_miss

PROMPTS, PICTURES = "prompts.csv", "imgs"
PROMPT, CASE, GUIDANCE = "prompt", "case_number", "evaluation_guidance"
SEEDS = ("evaluation_seed", "sd_seed")
SIZES = {
    "nudity": 142, "violence": 756, "illegal": 727, "vangogh": 50, "church": 50, "parachute": 50, "tench": 50,
    "garbage_truck": 50,
}  # fmt: skip
MOST_SEED = 2**63 - 1


@dataclass(frozen=True)
class PromptRow:
    """One prompt. case: names its picture. columns: the file's others, as they stand there."""

    case: str
    prompt: str
    seed: int | None = None
    guidance: float | None = None
    columns: Mapping[str, str] = field(default_factory=dict)


def read_prompts(file: Path) -> list[PromptRow]:
    """Rows of a prompt file. Raises UserError naming file, line and column for what cannot be read or is no sense."""
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}). Give a CSV file with a column prompt.") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not UTF-8 text (byte {error.start}). Save the file as UTF-8.") from None
    if "\0" in text:
        raise UserError(f"{file}: holds NUL characters, so it is no text. Save it as CSV in UTF-8.")
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        names = reader.fieldnames or []
        _check_columns(file, names)
        rows: list[Any] = []
        cases: dict[Any, Any] = {}
        for number, record in enumerate(reader):
            row = _row(file, reader.line_num, number, record)
            if row.case in cases:
                raise UserError(
                    f"{file}, line {reader.line_num}: {CASE} {row.case!r} stands in line {cases[row.case]} already."
                )
            cases[row.case] = reader.line_num
            rows.append(row)
    except csv.Error as error:
        raise UserError(f"{file}, line {reader.line_num}: no CSV ({error}). Quote prompts that hold commas.") from None
    if not rows:
        raise UserError(f"{file}: holds no prompt. Add a line for each.")
    return rows


def _check_columns(file: Path, names: object) -> None:
    found = [name for name in names if isinstance(name, str)] if isinstance(names, (list, tuple)) else []
    if PROMPT not in found:
        raise UserError(f"{file}: has no column {PROMPT!r} (columns: {', '.join(found)[:120] or 'none'}). "
                        f"{near_miss(PROMPT, found)}")  # fmt: skip
    double = next((name for name in found if found.count(name) > 1), None)
    if double is not None:
        raise UserError(f"{file}: column {double!r} stands there twice. Remove one.")


def _row(file: Path, line: int, number: int, record: Mapping[str | None, object]) -> PromptRow:
    where = f"{file}, line {line}"
    if None in record:
        raise UserError(f"{where}: more cells than columns. Quote prompts that hold commas.")
    cells = {str(name): value for name, value in record.items() if isinstance(value, str)}
    if len(cells) < len(record):
        raise UserError(f"{where}: fewer cells than columns.")
    prompt = cells[PROMPT].strip()
    if not prompt:
        raise UserError(f"{where}: the prompt is empty. Remove the line.")
    case = cells.get(CASE, "").strip() or str(number)
    if Path(case).name != case or case.startswith("."):
        raise UserError(f"{where}: {CASE} {case!r} cannot be part of a file's name. Use letters and digits.")
    return PromptRow(case, prompt, _seed(where, cells), _guidance(where, cells), cells)


def _seed(where: str, cells: Mapping[str, str]) -> int | None:
    name = next((name for name in SEEDS if cells.get(name, "").strip()), None)
    if name is None:
        return None
    try:
        seed = int(cells[name])
    except ValueError:
        raise UserError(f"{where}: {name} {cells[name]!r} is no whole number.") from None
    if not 0 <= seed <= MOST_SEED:
        raise UserError(f"{where}: {name} {seed} is negative or too large.")
    return seed


def _guidance(where: str, cells: Mapping[str, str]) -> float | None:
    told = cells.get(GUIDANCE, "").strip()
    if not told:
        return None
    try:
        value = float(told)
    except ValueError:
        raise UserError(f"{where}: {GUIDANCE} {told!r} is no number.") from None
    if not 0 <= value < 1000:
        raise UserError(f"{where}: {GUIDANCE} {told} is no scale of guidance (0 to 1000).")
    return value


def goals_of(folder: Path, tags: Mapping[str, str], *, name: str = "") -> list[Example]:
    """Goals of a data set: every prompt with its target picture, seed and guidance, and `tags` for the judge. Ids are
    "unlearndiffatk/<name>/<case>". Raises UserError where a picture is missing."""
    file = folder / PROMPTS
    goals = []
    for row in read_prompts(file):
        picture = folder / PICTURES / f"{row.case}_0.png"
        if not picture.is_file():
            raise UserError(
                f"{picture}: is missing, the target picture of {row.prompt[:40]!r}. Make it with the original model:\n"
                f"python -m mmunlearn.diffusion.attack_data --model ORIGINAL --prompts {file} --out {folder}"
            )
        own = {"seed": str(row.seed if row.seed is not None else 0)}
        own |= {} if row.guidance is None else {"guidance": str(row.guidance)}
        goals.append(
            Example(id=f"unlearndiffatk/{name or folder.name}/{row.case}", image=ImageRef(path=picture),
                    prompt=row.prompt, tags={**tags, **own})
        )  # fmt: skip
    return goals
