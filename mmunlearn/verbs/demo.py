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
ATTACKS = ("membership", {"name": "relearn", "steps": (0, 4, 16)})

log = logging.getLogger(__name__)


def command(
    modality: Annotated[str, typer.Argument(help="vision")] = "vision",
    out: Annotated[Path, typer.Option(help="Results folder; the same command again finishes it.")] = Path("demo-out"),
) -> None:
    """Generated faces, an original and a retrained model, a dozen unlearning methods, attacks, one table, one page."""
    if modality not in DEMOS:
        raise UserError(f"demo {modality!r} is not known. {near_miss(modality, DEMOS)}")
    from mmunlearn.launchers.local import Local
    from mmunlearn.report.table import nearest, sentence
    from mmunlearn.report.write import print_table
    from mmunlearn.reproduce import Plan, reproduce, run_name, write_again

    name, rows = DEMOS[modality]
    plan = Plan(name, out, rows=tuple(rows.split(",")))
    table = reproduce(plan, Local(logs=out / "logs"))
    found = nearest(table)
    attacked = ["original", *([found[0]] if found else [])]
    for row in attacked:
        attack(out / "runs" / run_name(row, 0), control=out / "runs" / run_name("retrain", 0))
    table = write_again(plan)
    print_table(table, name)
    print(f"Report: {(out / 'table.html').resolve()}")
    print(sentence(table))


def attack(run: Path, control: Path) -> None:
    """The demo's attacks on one run, beside the retrained model."""
    from mmunlearn.attack_stage import attack_run

    log.info("attacking %s", run)
    attack_run(run, ATTACKS, control=control)
