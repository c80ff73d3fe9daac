"""Unlearn on generated data in minutes and show the table (start here)."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from mmunlearn.errors import UserError, near_miss

EXAMPLES = ("mmunlearn demo", "mmunlearn demo diffusion --out demo-diffusion")

ATTACKS = ("membership", {"name": "relearn", "steps": (0, 16, 64)})


class Demo(NamedTuple):
    """A benchmark's table, the rows of its card that run beside original and retrained, and attacks on two of them."""

    benchmark: str
    rows: tuple[str, ...]
    attacks: tuple[str | Mapping[str, Any], ...] = ()
    table: str | None = None


DEMOS = {
    "vision": Demo(
        "mufac",
        (
            "finetune", "cf_3", "neggrad", "adv_neggrad", "scrub", "random_label", "bad_teaching", "saliency", "ssd",
            "npo", "unsir_2", "l1_sparse",
        ),
        ATTACKS,
    ),
    "vlm": Demo("fiubench", ("ga", "gd", "kl", "po", "npo", "dpo")),
    "diffusion": Demo("unlearncanvas", ("uce", "mace", "esd", "salun"), table="demo"),
}  # fmt: skip

log = logging.getLogger(__name__)


def command(
    modality: Annotated[str, typer.Argument(help="vision, vlm, diffusion or all")] = "vision",
    out: Annotated[Path, typer.Option(help="Results folder; the same command again finishes it.")] = Path("demo-out"),
) -> None:
    """Generated pictures, an original and a retrained model, unlearning methods, attacks, one table, one page."""
    if modality == "all":
        for one in DEMOS:
            run_demo(one, out / one)
        return
    if modality not in DEMOS:
        raise UserError(f"demo {modality!r} is not known. {near_miss(modality, [*DEMOS, 'all'])}")
    run_demo(modality, out)


def run_demo(modality: str, out: Path) -> None:
    """One modality's demo into `out`: its table; where it has attacks, they on the original and the nearest method, and
    the table again."""
    from mmunlearn.cards import read_card
    from mmunlearn.launchers import make_launcher
    from mmunlearn.report import printed
    from mmunlearn.report.table import nearest
    from mmunlearn.reproduce import Plan, report_again, reproduce, run_name

    demo = DEMOS[modality]
    plan = Plan(demo.benchmark, out, table=demo.table, rows=demo.rows)
    table = reproduce(plan, make_launcher("local", logs=out / "logs"))
    if demo.attacks:
        found = nearest(table)
        for row in dict.fromkeys(["original", found[0] if found else "original"]):
            attack(out / "runs" / run_name(row, 0), out / "runs" / run_name("retrain", 0), demo.attacks)
        table = report_again(plan)
    print(printed(table, read_card(demo.benchmark), out))


def attack(run: Path, control: Path, attacks: Sequence[str | Mapping[str, Any]]) -> None:
    """The demo's attacks on one run, beside the retrained model."""
    from mmunlearn.attack_stage import attack_run

    log.info("attacking %s", run)
    attack_run(run, attacks, control=control)
