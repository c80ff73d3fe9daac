"""Unlearn on generated data in minutes and show the table (start here)."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from mmunlearn.errors import UserError, near_miss

EXAMPLES = ("mmunlearn demo", "mmunlearn demo vision --out demo-out")

# modality -> benchmark and the rows of its card that the demo runs beside original and retrained
DEMOS = {
    "vision": (
        "mufac",
        "finetune,cf_3,neggrad,adv_neggrad,scrub,random_label,bad_teaching,saliency,ssd,npo,unsir_2,l1_sparse",
    ),
}
ATTACKS = ("membership", {"name": "relearn", "steps": (0, 16, 64)})

log = logging.getLogger(__name__)


def command(
    modality: Annotated[str, typer.Argument(help="vision")] = "vision",
    out: Annotated[Path, typer.Option(help="Results folder; the same command again finishes it.")] = Path("demo-out"),
) -> None:
    """Generated faces, an original and a retrained model, a dozen unlearning methods, attacks, one table, one page."""
    if modality not in DEMOS:
        raise UserError(f"demo {modality!r} is not known. {near_miss(modality, DEMOS)}")
    from mmunlearn.cards import read_card
    from mmunlearn.launchers import make_launcher
    from mmunlearn.report import printed
    from mmunlearn.report.table import nearest
    from mmunlearn.reproduce import Plan, report_again, reproduce, run_name

    name, rows = DEMOS[modality]
    plan = Plan(name, out, rows=tuple(rows.split(",")))
    found = nearest(reproduce(plan, make_launcher("local", logs=out / "logs")))
    for row in dict.fromkeys(["original", found[0] if found else "original"]):
        attack(out / "runs" / run_name(row, 0), control=out / "runs" / run_name("retrain", 0))
    print(printed(report_again(plan), read_card(name), out))


def attack(run: Path, control: Path) -> None:
    """The demo's attacks on one run, beside the retrained model."""
    from mmunlearn.attack_stage import attack_run

    log.info("attacking %s", run)
    attack_run(run, ATTACKS, control=control)
