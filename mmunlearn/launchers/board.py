"""The board of a grid: one line of state a job, live in a terminal, plain lines otherwise."""

import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

COLOURS = {"done": "green", "already complete": "green", "failed": "red", "blocked": "yellow", "running": "cyan"}
SETTLED = ("done", "already complete", "failed", "blocked")


class Board:
    """Collects states; this one shows nothing, which is what tests and other programs want."""

    def __init__(self, names: Sequence[str]):
        self.states = dict.fromkeys(names, "waiting")

    def show(self, name: str, state: str, note: str = "", seconds: float = 0.0) -> None:
        """Take a job's state with a note (its last line of output) and, at its end, its duration."""
        before, self.states[name] = self.states[name], str(state)
        self.draw(name, note, seconds, changed=before != str(state))

    def draw(self, name: str, note: str, seconds: float, *, changed: bool) -> None:
        """Show what `show` took in."""

    @property
    def settled(self) -> int:
        """How many jobs have ended."""
        return sum(state in SETTLED for state in self.states.values())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return None


class Lines(Board):
    """A printed line each time a job's state changes."""

    def draw(self, name: str, note: str, seconds: float, *, changed: bool) -> None:
        """Print a changed state; the last line of output only where it explains a failure."""
        state = self.states[name]
        if not changed:
            return
        spent = f" in {seconds:.1f} s" if seconds else ""
        why = f": {note}" if note and state in ("failed", "blocked") else ""
        print(f"[{self.settled}/{len(self.states)}] {name}: {state}{spent}{why}", flush=True)


class Live(Board):
    """A table that is redrawn; long grids show what runs, what failed and how many there are of the rest."""

    def __init__(self, names: Sequence[str]):
        from rich.live import Live as RichLive

        super().__init__(names)
        self.notes: dict[str, str] = {}
        self.seconds: dict[str, float] = {}
        self.live = RichLive(self._table(), refresh_per_second=4, transient=False)

    def draw(self, name: str, note: str, seconds: float, *, changed: bool) -> None:
        """Redraw the table."""
        self.notes[name], self.seconds[name] = note, seconds
        self.live.update(self._table())

    def _table(self) -> Any:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        shown = list(self.states)
        room = 40
        if len(shown) > room:
            active = [name for name in shown if self.states[name] in ("running", "failed", "blocked")]
            shown = active[-room:]
        for name in shown:
            state = self.states[name]
            spent = f"{self.seconds.get(name, 0.0):.1f} s" if self.seconds.get(name) else ""
            note = Text(self.notes.get(name, ""), style="dim", no_wrap=True, overflow="ellipsis")
            table.add_row(Text(name, no_wrap=True), Text(state, style=COLOURS.get(state, "dim")), spent, note)
        counts: dict[str, int] = {}
        for state in self.states.values():
            counts[state] = counts.get(state, 0) + 1
        return Group(table, Text(", ".join(f"{count} {state}" for state, count in counts.items()), style="bold"))

    def __enter__(self) -> Self:
        self.live.__enter__()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.live.__exit__(kind, error, trace)


def make_board(names: Sequence[str]) -> Board:
    """Live in a terminal, lines otherwise."""
    return Live(names) if sys.stdout.isatty() else Lines(names)
