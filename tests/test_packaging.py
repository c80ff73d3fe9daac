"""The checkout, the editable install and the wheel all import alike, and the lock file is complete and portable."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
MAPPING = PROJECT["tool"]["setuptools"]["package-dir"]
PACKAGES = PROJECT["tool"]["setuptools"]["packages"]
SIBLINGS = ("vision", "vlm", "diffusion")
TOP = ["mmunlearn", *(f"mmunlearn.{sibling}" for sibling in SIBLINGS if f"mmunlearn.{sibling}" in PACKAGES)]

# Imports what it is given and says where each came from, and where the cards lie.
PROBE = """
import importlib, json, sys
files = {name: importlib.import_module(name).__file__ for name in sys.argv[1:]}
from mmunlearn.cards import card_folders
print(json.dumps({"files": files, "cards": [str(folder) for folder in card_folders()]}))
"""


def folder_of(package: str) -> str:
    """Folder of the checkout that holds a package: the longest mapped prefix is replaced by its folder."""
    prefix = max((name for name in MAPPING if f"{package}.".startswith(f"{name}.")), key=len)
    return MAPPING[prefix] + package.removeprefix(prefix).replace(".", "/")


def say(command: list[str], cwd: Path) -> str:
    """Standard output of a command, run without the settings that could make an import succeed by accident."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MMUNLEARN"))}
    done = subprocess.run(command, cwd=cwd, env=kept, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def probe(python: str, cwd: Path) -> tuple[dict[str, Path], list[Path]]:
    found = json.loads(say([python, "-c", PROBE, *TOP], cwd))
    return {name: Path(file) for name, file in found["files"].items()}, [Path(folder) for folder in found["cards"]]


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a clone holds of the packages, so that building leaves nothing in the real one."""
    copy = tmp_path_factory.mktemp("checkout") / "mmunlearn-clone"
    copy.mkdir()
    for name in MAPPING.values():
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="session")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(checkout, "wheel", tmp_path_factory.mktemp("wheel"))


def build(checkout: Path, kind: str, target: Path) -> Path:
    """Build through the back-end's own hook (PEP 517 and 660): what pip and uv call, without either and offline."""
    hook = f"from setuptools import build_meta; build_meta.build_{kind}({str(target)!r})"
    say([sys.executable, "-c", hook], checkout)
    (built,) = target.glob("*.whl")
    return built


def environment(folder: Path, wheel: Path) -> str:
    """Python of a fresh virtual environment that holds the wheel and, behind it, this environment's libraries."""
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(say([str(python), "-c", where], folder).strip())
    # A folder named in a .pth file is searched, but its own .pth files (an editable mmunlearn) are not followed.
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return str(python)


@pytest.fixture(scope="session")
def wheel_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return environment(tmp_path_factory.mktemp("wheel-env"), wheel)


def assert_found_in(checkout: Path, files: dict[str, Path], cards: list[Path]) -> None:
    assert {name: checkout / folder_of(name) / "__init__.py" for name in TOP} == files
    assert checkout / "datasets" in cards


def assert_found_in_wheel(python: str, files: dict[str, Path], cards: list[Path]) -> None:
    env = Path(python).parent.parent
    assert all(file.is_relative_to(env) for file in files.values()), files
    assert [folder for folder in cards if folder.is_relative_to(env) and (folder / "README.md").is_file()], cards


def test_checkout_runs_uninstalled_from_its_root(checkout: Path) -> None:
    assert_found_in(checkout, *probe(sys.executable, checkout))


def test_editable_install_runs_from_elsewhere(checkout: Path, tmp_path: Path) -> None:
    built = tmp_path / "editable"
    built.mkdir()
    python = environment(tmp_path / "env", build(checkout, "editable", built))
    assert_found_in(checkout, *probe(python, tmp_path))


def test_wheel_runs_from_elsewhere(wheel_python: str, tmp_path: Path) -> None:
    assert_found_in_wheel(wheel_python, *probe(wheel_python, tmp_path))


def test_checkout_wins_where_the_wheel_is_installed_too(checkout: Path, wheel_python: str) -> None:
    """Without the checkout line in mmunlearn/__init__.py the checkout's core would be found without its siblings."""
    assert_found_in(checkout, *probe(wheel_python, checkout))


def test_wheel_holds_every_file_of_every_package(checkout: Path, wheel: Path) -> None:
    """Templates and cards as well as modules: nothing that the checkout reads may be missing once installed."""
    folders = {checkout / folder_of(name): name.replace(".", "/") for name in PACKAGES}
    expected = set()
    for path in (path for name in MAPPING.values() for path in (checkout / name).rglob("*")):
        if path.is_file() and path.suffix != ".pyc":
            owner = next(folder for folder in path.parents if folder in folders)
            expected.add(f"{folders[owner]}/{path.relative_to(owner).as_posix()}")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert expected == packed


def test_command_is_an_entry_point(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (entry_points,) = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
    assert "mmunlearn = mmunlearn.cli:main" in archive.read(entry_points).decode()


def locked() -> dict[str, list[str]]:
    """Package -> the lines that belong to it in requirements.lock."""
    entries: dict[str, list[str]] = {}
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        if not line.startswith(" "):
            name = re.split(r"[=<>\[ ]", line, maxsplit=1)[0]
        entries.setdefault(name, []).append(line.strip())
    return entries


def test_lock_pins_and_hashes_everything_and_names_no_source() -> None:
    entries = locked()
    unpinned = [name for name, lines in entries.items() if not re.match(r"[\w.-]+==[\w.+!]+( ;.*)? \\$", lines[0])]
    unhashed = [name for name, lines in entries.items() if "--hash=sha256:" not in lines[-1]]
    text = "\n".join(line for lines in entries.values() for line in lines)
    elsewhere = re.findall(r".*(?://| @ |--index|--find|\+cpu).*", text)
    assert ([], [], []) == (unpinned, unhashed, elsewhere)


def test_lock_covers_every_declared_dependency() -> None:
    project = PROJECT["project"]
    extras = project["optional-dependencies"]
    groups = [project["dependencies"], *(extras[name] for name in extras if name != "nudity")]  # .ci/install says why
    declared = {re.match(r"[\w.-]+", item)[0].lower().replace("_", "-") for group in groups for item in group}
    assert not declared - set(locked()), "run: make lock"


def test_version_is_the_same_everywhere() -> None:
    code = re.search(r'__version__ = "(.+)"', (ROOT / "mmunlearn" / "__init__.py").read_text())[1]
    citation = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)[1]
    assert (code, code) == (PROJECT["project"]["version"], citation)
