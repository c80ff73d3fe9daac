"""Unlearn on generated data in minutes and show the table (start here)."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from mmunlearn.errors import UserError, near_miss

EXAMPLES = ("mmunlearn demo", "mmunlearn demo vlm --out demo-vlm")

ATTACKS = ("membership", {"name": "relearn", "steps": (0, 16, 64)})

# modality -> benchmark, the rows of its card that the demo runs beside original and retrained, attacks on two of them
DEMOS = {
    "vision": (
        "mufac",
        "finetune,cf_3,neggrad,adv_neggrad,scrub,random_label,bad_teaching,saliency,ssd,npo,unsir_2,l1_sparse",
        ATTACKS,
    ),
    "vlm": ("fiubench", "ga,gd,kl,po,npo,dpo", ()),
}

log = logging.getLogger(__name__)


def command(
    modality: Annotated[str, typer.Argument(help="vision, vlm or all")] = "vision",
    out: Annotated[Path, typer.Option(help="Results folder; the same command again finishes it.")] = Path("demo-out"),
) -> None:
    """Generated faces, an original and a retrained model, unlearning methods, attacks, one table, one page."""
    if modality == "all":
        for one in DEMOS:
            run_demo(one, out / one)
        return
    if modality not in DEMOS:
        raise UserError(f"demo {modality!r} is not known. {near_miss(modality, [*DEMOS, 'all'])}")
    run_demo(modality, out)


def run_demo(modality: str, out: Path) -> None:
    """One modality's demo into `out`: table, attacks on the original and the nearest method, table again."""
    from mmunlearn.cards import read_card
    from mmunlearn.launchers import make_launcher
    from mmunlearn.report import printed
    from mmunlearn.report.table import nearest
    from mmunlearn.reproduce import Plan, report_again, reproduce, run_name

    name, rows, attacks = DEMOS[modality]
    plan = Plan(name, out, rows=tuple(rows.split(",")))
    found = nearest(reproduce(plan, make_launcher("local", logs=out / "logs")))
    for row in dict.fromkeys(["original", found[0] if found else "original"]) if attacks else ():
        attack(out / "runs" / run_name(row, 0), out / "runs" / run_name("retrain", 0), attacks)
    print(printed(report_again(plan), read_card(name), out))


def attack(run: Path, control: Path, attacks: Sequence[str | Mapping[str, Any]]) -> None:
    """The demo's attacks on one run, beside the retrained model."""
    from mmunlearn.attack_stage import attack_run

    log.info("attacking %s", run)
    attack_run(run, attacks, control=control)
