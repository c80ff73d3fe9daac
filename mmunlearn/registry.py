"""Names of components: a file's stem is its component's name; entry points add others.

Look-up order: the run's modality folder, the core folder, entry points of the group `mmunlearn.<kind>`. The same name
twice is an error. Listing reads file names and docstrings only, so it imports no component.
"""

import ast
import importlib
import inspect
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from mmunlearn.errors import UserError, near_miss

KINDS = ("methods", "benchmarks", "attacks", "judges", "metrics")
SIBLINGS = ("vision", "vlm", "diffusion")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Component:
    """Where a component comes from: `modality` is "core", a sibling's name or the distribution of a plugin."""

    kind: str
    name: str
    modality: str
    module: str
    path: Path | None
    entry: EntryPoint | None = None

    def summary(self) -> str:
        """First line of the component's docstring, read without importing it."""
        if self.path is None:
            return f"from {self.modality}"
        source = self.path.read_text(encoding="utf-8")
        if source.startswith('"""'):  # the usual case, without parsing the whole file
            return source[3:].partition('"""')[0].strip().partition("\n")[0].strip()
        tree = ast.parse(source)
        text = ast.get_docstring(tree)
        if not text:
            classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
            text = next((doc for node in classes if (doc := ast.get_docstring(node))), "")
        return text.strip().splitlines()[0] if text else ""

    def load(self) -> type:
        """Import and return the component's class: the module's only public class of that kind."""
        if self.entry is not None:
            return _load_entry(self)
        module = importlib.import_module(self.module)
        wanted = self.name.replace("_", "").lower()
        found = [
            value
            for key, value in vars(module).items()
            if inspect.isclass(value) and value.__module__ == module.__name__ and key.lower() == wanted
        ]
        if len(found) != 1:
            raise TypeError(f"{self.module} must define one public class named like its file ({wanted}).")
        return found[0]


def _load_entry(component: Component) -> type:
    assert component.entry is not None
    try:
        return component.entry.load()
    except Exception as error:  # a broken plugin must not take the suite down
        raise UserError(
            f"{component.kind[:-1]} {component.name!r}: the plugin {component.modality} cannot be loaded ({error}).\n"
            f"Repair or uninstall {component.modality}."
        ) from error


def _package_folder(modality: str) -> Path:
    core = Path(__file__).parent
    if modality == "core":
        return core
    inside = core / modality
    return inside if inside.is_dir() else core.parent / modality


@cache
def components(kind: str) -> tuple[Component, ...]:
    """All components of a kind, sorted by modality (core first) and name."""
    if kind not in KINDS:
        raise UserError(f"{kind}: no such kind of component. {near_miss(kind, KINDS)}")
    found: list[Component] = []
    for modality in ("core", *SIBLINGS):
        folder = _package_folder(modality) / kind
        for path in sorted(folder.glob("*.py")) if folder.is_dir() else ():
            if path.stem.startswith(("base", "_")):
                continue
            prefix = "mmunlearn" if modality == "core" else f"mmunlearn.{modality}"
            found.append(Component(kind, path.stem, modality, f"{prefix}.{kind}.{path.stem}", path))
    seen = {(c.modality, c.name) for c in found} | {("core", c.name) for c in found if c.modality == "core"}
    for entry in entry_points(group=f"mmunlearn.{kind}"):
        owner = entry.dist.name if entry.dist is not None else "a plugin"
        if any(name == entry.name for _, name in seen):
            log.warning("%s %r of %s is ignored: the name is taken.", kind[:-1], entry.name, owner)
            continue
        found.append(Component(kind, entry.name, owner, entry.value, None, entry))
    return tuple(found)


def visible(kind: str, modality: str | None = None) -> Mapping[str, Component]:
    """Components that a run of `modality` may name; a sibling's component hides nothing of the core by rule."""
    table: dict[str, Component] = {}
    for component in components(kind):
        if modality is not None and component.modality in SIBLINGS and component.modality != modality:
            continue
        if component.name in table and modality is not None:
            raise UserError(
                f"{kind[:-1]} {component.name!r} exists twice: in {table[component.name].modality} and in "
                f"{component.modality}. Rename one of them."
            )
        table.setdefault(component.name, component)
    return table


def find(kind: str, name: str, modality: str | None = None) -> Component:
    """The component called `name`; UserError with near misses otherwise."""
    table = visible(kind, modality)
    if name not in table:
        where = f" for {modality}" if modality else ""
        raise UserError(f"{kind[:-1]} {name!r} is not known{where}. {near_miss(name, table)}")
    return table[name]


def load(kind: str, name: str, modality: str | None = None) -> type:
    """Class of the component called `name`."""
    return find(kind, name, modality).load()
