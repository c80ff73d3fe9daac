"""Names of components: file stems, entry points of a real installed plugin, near misses."""

import json
import logging
import sys
from pathlib import Path

import pytest

from mmunlearn import registry
from mmunlearn.cli import main
from mmunlearn.errors import UserError

SHOW_ALL = "import json; from mmunlearn.registry import KINDS, visible; "


def test_component_is_named_like_its_file() -> None:
    found = {component.name: component for component in registry.components("methods")}
    folder = Path(registry.__file__).parent / "methods"
    stems = {path.stem for path in folder.glob("*.py") if not path.stem.startswith(("base", "_"))}
    assert stems == {name for name, component in found.items() if component.modality == "core"}
    assert "mmunlearn.methods.grad_diff" == found["grad_diff"].module


def test_summary_is_the_first_docstring_line_without_an_import(command) -> None:
    code = (
        "import sys; from mmunlearn.registry import find; "
        "print(find('methods', 'grad_diff').summary()); "
        "print([m for m in ('torch', 'numpy', 'pydantic') if m in sys.modules])"
    )
    done = command(["-c", code])
    first, modules = done.stdout.splitlines()
    text = (Path(registry.__file__).parent / "methods" / "grad_diff.py").read_text()
    assert text.startswith(f'"""{first}')
    assert "[]" == modules


@pytest.mark.parametrize("kind", registry.KINDS)
def test_every_component_loads_and_has_its_name(kind: str) -> None:
    for component in registry.components(kind):
        cls = component.load()
        name = cls.title() if kind == "benchmarks" else cls.name()
        assert component.name == name


def test_unknown_name_offers_a_near_miss() -> None:
    with pytest.raises(UserError, match=r"method 'grad_dif' is not known\. Did you mean grad_diff"):
        registry.find("methods", "grad_dif")


def test_unknown_kind_offers_a_near_miss() -> None:
    with pytest.raises(UserError, match=r"method: no such kind of component\. Did you mean methods"):
        registry.components("method")


def test_a_modality_does_not_see_a_siblings_components() -> None:
    own = {c.name for c in registry.components("methods") if c.modality == "vision"}
    assert own
    assert own <= set(registry.visible("methods", "vision"))
    assert not own & set(registry.visible("methods", "diffusion"))


def test_plugin_brings_one_component_of_each_kind(command, plugin: Path) -> None:
    code = SHOW_ALL + (
        "print(json.dumps({k: [n for n, c in visible(k).items() if c.modality == 'mmunlearn-sample-plugin'] "
        "for k in KINDS}))"
    )
    done = command(["-c", code], {"PYTHONPATH": str(plugin)})
    assert {
        "methods": ["broken", "shrink_all"],
        "benchmarks": ["dots"],
        "attacks": ["loss_gap"],
        "judges": ["near"],
        "metrics": ["mean_loss"],
    } == {kind: sorted(names) for kind, names in json.loads(done.stdout).items()}


def test_plugin_cannot_take_a_name_of_the_core_and_one_warning_says_so(command, plugin: Path) -> None:
    code = SHOW_ALL + "print(visible('methods')['scrub'].modality)"
    done = command(["-c", code], {"PYTHONPATH": str(plugin)})
    assert "core" == done.stdout.strip()
    assert 1 == done.stderr.count("method 'scrub' of mmunlearn-sample-plugin is ignored")


@pytest.fixture
def installed(plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The plugin on this process's path, its card found, a cache of its own."""
    monkeypatch.syspath_prepend(str(plugin))
    monkeypatch.setenv("MMUNLEARN_CARDS", str(plugin / "mmunlearn_sample"))
    monkeypatch.setenv("MMUNLEARN_CACHE", str(tmp_path))
    registry.components.cache_clear()
    yield
    registry.components.cache_clear()
    for name in [name for name in sys.modules if name.startswith("mmunlearn_sample")]:
        del sys.modules[name]


def test_broken_plugin_is_named_and_stops_nothing_else(installed, capsys) -> None:
    assert 2 == main(["show", "broken"])
    err = capsys.readouterr().err
    assert "the plugin mmunlearn-sample-plugin cannot be loaded" in err
    assert "Traceback" not in err
    assert 0 == main(["show", "shrink_all"])
    assert "Multiply every parameter by `factor`" in capsys.readouterr().out


def test_plugins_benchmark_can_be_shown_checked_and_built(installed, capsys) -> None:
    assert 0 == main(["show", "dots"])
    assert "Dots, the sample plugin's benchmark" in capsys.readouterr().out
    assert 0 == main(["check", "benchmark.name=dots", "start=x", "row=shrink_all"])
    assert "factor: 0.5" in capsys.readouterr().out
    assert 0 == main(["fetch", "dots", "--edition", "mini"])
    assert 4 == capsys.readouterr().out.count("8 examples")


def test_folder_of_full_data_is_verified_by_the_benchmarks_reader(installed, capsys, tmp_path: Path) -> None:
    assert 2 == main(["fetch", "dots", "--root", str(tmp_path)])
    assert f"{tmp_path}: holds no forget-*.png" in capsys.readouterr().err


def test_fetch_without_a_folder_says_what_is_needed(installed, capsys) -> None:
    assert 0 == main(["fetch", "dots"])
    out = capsys.readouterr().out
    assert "PNG files <split>-<number>-<label>.png" in out
    assert "CC0-1.0" in out


def test_wrong_setting_of_a_plugins_method_is_refused_with_a_near_miss(installed, capsys) -> None:
    assert 2 == main(["check", "benchmark.name=dots", "start=x", "row=shrink_all", "method.facter=0.5"])
    assert "facter: no such setting. Did you mean factor?" in capsys.readouterr().err


def test_plugins_components_do_their_work(installed) -> None:
    import numpy as np

    from mmunlearn.data import Example
    from mmunlearn.judges.base import Item
    from mmunlearn.metrics.base import Sight
    from mmunlearn.records import Rows

    sight = Sight(Rows(("a", "b"), {"nll": np.array([1.0, 2.0])}), Rows(("c",), {"nll": np.array([4.0])}))
    assert 1.5 == registry.load("metrics", "mean_loss")().reduce(sight).value
    items = [
        Item(Example(id=str(target), target=target), {"logits": [[0.0, 9.0, 1.0, 0.0]]}) for target in (0, 1, 2, 3)
    ]
    assert [1.0, 1.0, 1.0, 0.0] == [verdict.value for verdict in registry.load("judges", "near")()(items, {})]
    assert 2.5 == registry.load("attacks", "loss_gap")().measure(sight, 0)["gap"].value


def test_two_plugins_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def twin(modality: str) -> registry.Component:
        return registry.Component("methods", "twin", modality, f"{modality}:Twin", None)

    monkeypatch.setattr(registry, "components", lambda kind: (twin("first"), twin("second")))
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(UserError, match="'twin' exists twice: in first and in second"),
    ):
        registry.find("methods", "twin", "vision")
