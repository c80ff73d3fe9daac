"""The manifest of a complete run: versions, fingerprints, seeds and the hash of every file."""

import hashlib
import platform
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import mmunlearn
from mmunlearn.cards import Card
from mmunlearn.data import Split
from mmunlearn.run import Run
from mmunlearn.settings import Settings, digest, plain

_PACKAGES = ("torch", "torchvision", "timm", "accelerate", "numpy", "scikit-learn", "pillow", "safetensors", "pydantic")


def manifest(run: Run, settings: Settings, card: Card, data: Mapping[str, Split]) -> dict[str, Any]:
    """What an auditor needs to make the run again and to see that nothing was changed since."""
    import torch

    files = sorted(f for f in run.path.rglob("*") if f.is_file() and f.name not in {"manifest.json", "run.lock"})
    return {
        "schema": 1,
        "settings": digest(plain(settings)),
        "seed": run.seed,
        "card": {"name": card.name, "version": card.version},
        "data": {name: {"n": len(split), "fingerprint": split.fingerprint} for name, split in data.items()},
        "code": code_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "python": platform.python_version(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu ({platform.machine()})",
        "threads": torch.get_num_threads(),
        "files": {str(f.relative_to(run.path)): _hash(f) for f in files if not f.name.startswith(".")},
    }


@cache
def code_version() -> dict[str, Any]:
    """The package version, and in a checkout the commit and a hash of uncommitted changes."""
    root = Path(mmunlearn.__file__).parent.parent
    facts: dict[str, Any] = {"version": mmunlearn.__version__}
    if (root / ".git").exists():
        commit, changes = _git(root, "rev-parse", "HEAD"), _git(root, "diff", "HEAD")
        if commit is not None:
            facts["commit"] = commit.strip()
            facts["dirty"] = hashlib.blake2b(changes.encode(), digest_size=8).hexdigest() if changes else None
    return facts


def _git(root: Path, *words: str) -> str | None:
    try:
        return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True, timeout=20).stdout
    except (OSError, subprocess.SubprocessError):
        return None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _hash(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
