"""Synthetic finished runs in the layout that the pipeline writes, and a card that fits them."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from mmunlearn.cards import Card
from mmunlearn.records import Shard

TITLES = {
    "original": "Original",
    "retrain": "Retrained",
    "finetune": "Fine-tuning",
    "neg_grad": "NegGrad",
    "scrub": "SCRUB",
    "adv_neg_grad": "Adv. NegGrad",
}
METHODS = {"original": "retrain", "neg_grad": "grad_ascent", "adv_neg_grad": "grad_diff"}
# row -> mean log10 loss of (forget, unseen), test accuracy
MODELS = {
    "original": (-2.2, -0.2, 0.60),
    "retrain": (-0.25, -0.2, 0.49),
    "finetune": (-2.1, -0.2, 0.605),
    "neg_grad": (0.9, 0.85, 0.15),
    "scrub": (-1.0, -0.2, 0.598),
    "adv_neg_grad": (-0.5, -0.15, 0.56),
}


def card_content() -> dict:
    columns = [
        {"cell": "test/top1", "title": "Test acc.", "better": "higher"},
        {"cell": "forget/mia", "title": "MIA", "better": "closer"},
        {"cell": "forget/top1", "title": "Forget acc.", "better": "closer"},
    ]
    edition = {"model": {"name": "resnet18"}, "recipe": {"epochs": 2}, "from": {"*": "test"}}
    return {
        "name": "sample",
        "modality": "vision",
        "version": 3,
        "title": "A sample benchmark",
        "paper": "Nobody 2020",
        "contains": ["faces"],
        "source": {"kind": "folder", "what": "pictures/ and labels.csv", "get": "ask its owner", "licence": "CC0"},
        "splits": {
            name: {"role": role, "what": f"the {name} pictures", "count": {"original": 40}, "from": "section 3"}
            for name, role in (("forget", "forget"), ("retain", "retain"), ("test", "holdout"), ("unseen", "unseen"))
        },
        "editions": {"mini": edition, "full": edition},
        "evaluations": [
            {"name": "test", "split": "test", "metrics": ["top1"]},
            {"name": "forget", "split": "forget", "against": "unseen", "metrics": ["top1"]},
        ],
        "table": "main",
        "tables": {
            "main": {
                "title": "Sample results",
                "columns": columns,
                "rows": list(TITLES),
                "paper": {
                    "cells": {"original": {"test/top1": 0.5951}, "scrub": {"test/top1": 0.5984, "forget/mia": 0.6415}},
                    "tolerance": {"top1": 0.01, "mia": 0.012},
                    "from": "the paper, table 2",
                    "footnotes": {"scrub": "two epochs"},
                },
            }
        },
        "rows": {
            name: {"title": title, "method": {"name": METHODS.get(name, name)}, "from": {"*": "the paper, section 4"}}
            for name, title in TITLES.items()
        },
        "notes": ["The paper's table calls the test split `val`."],
    }


@pytest.fixture
def card() -> Card:
    return Card.model_validate(card_content())


def result(row: str, seed: int = 0, edition: str = "mini", **cells: float | None) -> dict:
    """A run's results.json; cells by name with `__` for the slash."""
    return {
        "schema": 1,
        "benchmark": "sample",
        "edition": edition,
        "card_version": 3,
        "table": "main",
        "row": row,
        "method": METHODS.get(row, row),
        "seed": seed,
        "cells": {
            name.replace("__", "/"): {"value": value, "n": 40, "stderr": 0.03, "unscored": 0, "flag": None}
            for name, value in cells.items()
        },
        "flags": [],
        "cost": {"seconds": 10.0 + seed, "peak_bytes": 2**28, "stored_bytes": 2**20},
    }


@pytest.fixture
def run_result():
    """`run_result(row, seed, edition, test__top1=…)` gives the content of a run's results.json."""
    return result


def write_run(out: Path, row: str, seed: int, count: int = 120) -> Path:
    """A finished run folder of a made-up model: losses drawn around the row's means, cells computed from them."""
    rng = np.random.default_rng([seed, *row.encode()])
    forget_mean, unseen_mean, accuracy = MODELS[row]
    folder = out / "runs" / f"{row}-s{seed}"
    losses = {}
    for split, mean in (("forget", forget_mean), ("unseen", unseen_mean), ("test", unseen_mean)):
        losses[split] = 10 ** rng.normal(mean, 0.6, count)
        rows = []
        for index, loss in enumerate(losses[split]):
            target = index % 8
            right = loss < 1.0
            logits = [0.0] * 8
            logits[target if right else (target + 1) % 8] = 2.0
            rows.append(
                {"id": f"{split}/{index:04d}", "nll": float(loss), "count": 1, "logits": [logits], "target": [target]}
            )
        Shard(folder / "responses" / split).append(rows)
    threshold = np.median(np.concatenate([losses["forget"], losses["unseen"]]))
    mia = ((losses["forget"] < threshold).mean() + (losses["unseen"] >= threshold).mean()) / 2
    content = result(
        row,
        seed,
        test__top1=accuracy + rng.normal(0, 0.01),
        forget__top1=float((losses["forget"] < 1.0).mean()),
        forget__mia=float(mia),
    )
    content["flags"] = {"finetune": ["noop"], "neg_grad": ["collapse"]}.get(row, [])
    folder.joinpath("config.yaml").write_text(yaml.safe_dump({"seed": seed, "method": {"name": content["method"]}}))
    folder.joinpath("results.json").write_text(json.dumps(content))
    manifest = {
        "version": "0.1.0",
        "code": "abc123",
        "packages": {"torch": "2.15.0"},
        "settings_hash": "feed",
        "device": "cpu",
    }
    folder.joinpath("manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """The folder of a reproduce command: six rows, two seeds each."""
    for row in MODELS:
        for seed in (0, 1):
            write_run(tmp_path / "out", row, seed)
    return tmp_path / "out"


@pytest.fixture
def cards_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the sample card, where the suite looks for cards."""
    folder = tmp_path / "cards"
    folder.mkdir()
    (folder / "sample.yaml").write_text(yaml.safe_dump(card_content(), sort_keys=False))
    monkeypatch.setenv("MMUNLEARN_CARDS", str(folder))
    return folder
