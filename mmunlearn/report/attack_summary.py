"""What an attack found, in one line: clean and attacked rate, the control's, budget and cost; runs side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Results = Mapping[str, Any]  # content of an attack's results.json
AUC = ("loss_auc", "auc")  # of attacks on answers: the figure that stands for all


@dataclass(frozen=True)
class Line:
    """One attack on one run. Rates are fractions with 95 % intervals (low, high), None where there is none.

    measured: what the rate is of ("success", "forget_held_out_top1", "loss_auc").
    """

    attack: str
    access: str
    measured: str
    budget: str
    clean: float | None
    attacked: Mapping[str, Any]
    control_clean: float | None
    control: Mapping[str, Any] | None
    above: Mapping[str, Any] | None
    cost: Mapping[str, Any]
    leaks: bool | None

    @property
    def figures(self) -> tuple[str, ...]:
        """The line as texts, in the order of COLUMNS."""
        return (
            f"{self.attack} ({self.measured})" if self.measured != "success" else self.attack,
            self.access.lower(), self.budget, rate(self.clean), interval(self.attacked), self.beside,
            interval(self.above) if self.above else "–", str(self.cost.get("queries", 0)),
            str(self.cost.get("gradient_steps", 0)), f"{self.cost.get('seconds', 0.0):.1f}",
        )  # fmt: skip

    @property
    def beside(self) -> str:
        """The control's clean and attacked rate; a mark where the attack leaks."""
        if self.control is None:
            return "–"
        arrow = f"{rate(self.control_clean)} → " if self.control_clean is not None else ""
        return f"{arrow}{rate(self.control.get('value'))}{' !' if self.leaks else ''}"

    @property
    def short(self) -> str:
        """Clean → attacked, for a table of several runs."""
        arrow = f"{rate(self.clean)} → " if self.clean is not None else ""
        return f"{arrow}{interval(self.attacked)}"


COLUMNS = (
    "attack", "access", "budget", "clean", "attacked", "control", "above control", "queries", "gradient steps", "s",
)  # fmt: skip


def rate(value: float | None) -> str:
    """A fraction with three digits."""
    return "–" if value is None else f"{value:.3f}"


def interval(cell: Mapping[str, Any] | None) -> str:
    """A cell's value with its 95 % interval."""
    if cell is None or cell.get("value") is None:
        return "–"
    if cell.get("low") is None or cell.get("high") is None:
        return rate(cell["value"])
    return f"{rate(cell['value'])} [{rate(cell['low'])}, {rate(cell['high'])}]"


def line_of(results: Results) -> Line:
    """The line of one attack."""
    title = results["attack"]
    name = main_cell(results)
    control = results.get("control")
    cell = results["cells"].get(f"{title}/{name}", {})
    other = control["cells"].get(f"{title}/{name}", {}) if control else None
    return Line(
        attack=title, access=results["access"], measured=name, budget=str(results.get("worst", "")) or "–",
        clean=cell.get("clean"), attacked=cell, control=other,
        control_clean=other.get("clean") if other else None, above=results.get("above_control"),
        cost=results["cost"], leaks=results.get("leaks"),
    )  # fmt: skip


def main_cell(results: Results) -> str:
    """The cell that stands for the attack: success, what was recovered, or the AUC of a membership attack."""
    names = [name.partition("/")[2] for name in results["cells"]]
    wanted = ("success", results.get("recovered", ""), "forget_held_out_top1", "forget_top1", *AUC)
    return next((name for name in wanted if name in names), names[0] if names else "")


def lines(found: Sequence[Results]) -> list[Line]:
    """A line an attack, in order."""
    return [line_of(results) for results in found]


def comparison(found: Mapping[str, Sequence[Results]]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """(titles, rows): an attack a row, a run a column with clean → attacked, the control's last where there is one."""
    by_run = {run: {line.attack: line for line in lines(results)} for run, results in found.items()}
    attacks = list(dict.fromkeys(attack for own in by_run.values() for attack in own))
    controls = {attack: line for own in by_run.values() for attack, line in own.items() if line.control is not None}
    rows = []
    for attack in attacks:
        line = next(own[attack] for own in by_run.values() if attack in own)
        row = [line.figures[0], line.access.lower()]
        row += [own[attack].short if attack in own else "–" for own in by_run.values()]
        rows.append((*row, controls[attack].beside if attack in controls else "–"))
    return ("attack", "access", *by_run, "control"), rows


def leaking(found: Sequence[Results]) -> list[str]:
    """A sentence for each attack that raises the control's rate: it leaks, or it teaches by design."""
    sentences = []
    for results in found:
        if results.get("leaks"):
            difference = interval(results["control_difference"])
            if results.get("teaches"):
                sentence = "trains on forget examples, so it teaches the retrained model as well: there the rate rises"
            else:
                sentence = "leaks: on the retrained model, which never knew the answers, it raises the rate"
            sentences.append(f"{results['attack']} {sentence} by {difference}. Read `above control`, not `attacked`.")
    return sentences
