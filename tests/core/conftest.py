"""What several tests of the core share: command lines in a process of their own, and the installed sample plugin."""

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def run_command(words: Sequence[str], env: Mapping[str, str] | None = None, cwd: Path = ROOT):
    """`python WORDS` with this checkout importable."""
    path = os.pathsep.join(filter(None, [(env or {}).get("PYTHONPATH", ""), str(ROOT)]))
    full = {**os.environ, "OMP_NUM_THREADS": "1", **(env or {}), "PYTHONPATH": path}
    return subprocess.run([sys.executable, *words], env=full, cwd=cwd, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="session")
def command() -> Callable:
    """`command(words, env=…)` runs `python WORDS` and gives returncode, stdout and stderr."""
    return run_command


@pytest.fixture(scope="session")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which tests/plugin was installed (offline, without dependencies)."""
    import shutil

    work = tmp_path_factory.mktemp("plugin")
    shutil.copytree(ROOT / "tests" / "plugin", work / "source")  # the build writes beside its source
    target = work / "installed"
    options = ["--wheel", "--no-isolation", "--skip-dependency-check", "--outdir", str(work)]
    done = run_command(["-m", "build", *options, str(work / "source")])
    assert 0 == done.returncode, done.stdout + done.stderr
    (wheel,) = work.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:  # all that installing a pure wheel into a folder does; pip may be absent
        archive.extractall(target)
    return target


@pytest.fixture
def server():
    """A chat server that misbehaves on request."""
    pytest.importorskip("openai")
    from mmunlearn.testing.chat_server import running

    with running() as found:
        yield found
