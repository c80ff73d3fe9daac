"""A card's table as runs: what starts from what, what is shared, what a second command does, what the table says."""

import copy
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from mmunlearn import registry
from mmunlearn.benchmark import Benchmark
from mmunlearn.cache import cache_folder
from mmunlearn.cards import read_card
from mmunlearn.cli import main
from mmunlearn.data import Example, Role, Split, union
from mmunlearn.errors import UserError
from mmunlearn.handle import weights_digest
from mmunlearn.launchers.debug import Debug
from mmunlearn.modalities import load_handle
from mmunlearn.records import read_rows
from mmunlearn.report.table import row_of
from mmunlearn.reproduce import Plan, Point, chosen_rows, jobs, points, report_again, reproduce, run_settings
from mmunlearn.run import Run
from mmunlearn.settings import Settings

CONCEPTS, EACH = 3, 4
FACTS = {"what": "vectors", "from": "test"}
REQUESTS = {"zero": {"concept": 0}, "one": {"concept": 1}}


class Demo(Benchmark):
    """Vectors of three concepts, each with a class of its own for every vector; a request forgets one concept."""

    class Config(Settings):
        name: str = ""
        concept: int = 2
        shift: float = 0.0

    def splits(self, root, edition):
        draw = np.random.default_rng(0)

        def part(name, role, concept=0):
            xs = draw.normal(size=(EACH, 8)).round(4) + self.config.shift
            return Split(name, role, tuple(
                Example(id=f"demo/{name}/{concept}/{i}", prompt=json.dumps(x.tolist()), target=i % 4,
                        tags={"concept": str(concept)})
                for i, x in enumerate(xs)
            ))  # fmt: skip

        of = [part("data", Role.TRAIN, concept) for concept in range(CONCEPTS)]
        kept = [split for concept, split in enumerate(of) if concept != self.config.concept]
        return {
            "forget": union("forget", Role.FORGET, of[self.config.concept]),
            "retain": union("retain", Role.RETAIN, *kept), "train": union("train", Role.TRAIN, *of),
            "answers": union("answers", Role.UTILITY, *of), "unseen": part("unseen", Role.UNSEEN),
            "test": part("test", Role.HOLDOUT),
        }  # fmt: skip

    def build_mini(self, root, seed, sizes=None):
        raise NotImplementedError("the tests give a root")

    def model(self, edition):
        return dict(self.card.editions[edition].model)


Demo.__module__ = "demo"


def card_content() -> dict:
    recipe = {"epochs": 40, "batch_size": 12, "optimiser": {"lr": 0.1, "momentum": 0.9}, "augment": False}
    edition = {"model": {"hidden": 16}, "recipe": recipe, "train": {"device": "cpu"}, "from": {"*": "test"}}
    columns = [{"cell": "forget/top1", "title": "Forget"}, {"cell": "answers/top1", "title": "All"}]
    table = {"title": "Demo", "columns": columns, "rows": ["original", "retrain", "ascent"]}
    asked = {**table, "requests": copy.deepcopy(REQUESTS)}
    return {
        "name": "demo", "modality": "tiny", "version": 1, "title": "Demo", "paper": "none",
        "source": {"kind": "folder", "what": "nothing", "get": "nowhere", "licence": "CC0"},
        "splits": {
            "forget": {"role": "forget", **FACTS}, "retain": {"role": "retain", **FACTS},
            "answers": {"role": "utility", **FACTS}, "unseen": {"role": "unseen", **FACTS},
            "test": {"role": "holdout", **FACTS}, "train": {"role": "train", **FACTS},
        },
        "editions": {"mini": edition, "full": edition},
        "evaluations": [
            {"name": "forget", "split": "forget", "metrics": ["top1", {"name": "mean_nll", "as": "nll"}]},
            {"name": "answers", "split": "answers", "metrics": ["top1"]},
        ],
        "table": "plain",
        "tables": {
            "plain": table, "asked": asked, "steps": {**asked, "sequential": True},
            "apart": {**asked, "request_rows": True},
        },
        "rows": {
            "original": {"title": "Original", "method": {"name": "retrain", "on": "train"}, "from": {"*": "test"}},
            "retrain": {"title": "Retrained", "method": {"name": "retrain"}, "from": {"*": "test"}},
            "ascent": {
                "title": "Ascent", "from": {"*": "test"},
                "method": {"name": "grad_ascent", "epochs": 8, "batch_size": 4, "optimiser": {"lr": 0.3},
                           "augment": False, "stop_at_chance": False},
            },
        },
    }  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def world(tmp_path_factory):
    """The demo benchmark where the suite looks for cards and components; returns the folder of its data."""
    place = tmp_path_factory.mktemp("world")
    entry = SimpleNamespace(load=lambda: Demo)
    known, ours = registry.components, registry.Component("benchmarks", "demo", "a test", "demo:Demo", None, entry)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMUNLEARN_CACHE", str(place / "cache"))
        patch.setenv("MMUNLEARN_CARDS", str(place / "cards"))
        patch.setattr(registry, "components", lambda kind: known(kind) + ((ours,) if kind == "benchmarks" else ()))
        write_card(place / "cards", card_content())
        (place / "root").mkdir()
        yield place / "root"


def write_card(folder: Path, content: dict) -> None:
    folder.mkdir()
    (folder / "demo.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


@pytest.fixture
def other_card(tmp_path, monkeypatch):
    """`other_card(content)` puts another card in the demo's place."""

    def put(content: dict) -> None:
        write_card(tmp_path / "cards", content)
        monkeypatch.setenv("MMUNLEARN_CARDS", str(tmp_path / "cards"))

    return put


@pytest.fixture
def plan(tmp_path, world):
    """`plan(table, …)` reproduces into the test's folder."""
    return lambda table="asked", **more: Plan("demo", tmp_path / "out", table=table, root=world, **more)


@pytest.fixture(scope="module")
def asked(world, tmp_path_factory):
    """The table of requests, made once: the table, its plan, the folder of its runs and that of the logs."""
    place = tmp_path_factory.mktemp("asked")
    wanted = Plan("demo", place / "out", table="asked", root=world, seeds=2)
    return SimpleNamespace(
        table=reproduce(wanted, Debug(place / "logs")), plan=wanted, runs=place / "out/runs", logs=place / "logs"
    )


@pytest.fixture
def copied(asked, tmp_path):
    """The same in a folder that a test may change."""
    shutil.copytree(asked.plan.out, tmp_path / "out")
    wanted = replace(asked.plan, out=tmp_path / "out")
    return SimpleNamespace(table=asked.table, plan=wanted, runs=tmp_path / "out/runs")


class Counting(Debug):
    """Remembers the names of what it ran."""

    def __init__(self, logs):
        super().__init__(logs)
        self.names = []

    def submit(self, *words, name="", **more):
        self.names.append(name)
        return super().submit(*words, name=name, **more)


def results(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


def digest_of(folder: Path) -> str:
    return weights_digest(load_handle("tiny", folder).module)


# ---- which runs ----------------------------------------------------------------------------------------------------
def test_a_table_without_requests_has_the_runs_it_always_had(plan):
    card, wanted = read_card("demo"), plan("plain", seeds=2)
    names = [point.name for point in points(card, wanted)]
    assert ["original-s0", "original-s1", "retrain-s0", "retrain-s1", "ascent-s0", "ascent-s1"] == names
    settings = run_settings(card, wanted, Point("ascent", 1))
    assert not {"request", "earlier"} & set(settings)
    assert ({"name": "demo"}, "../original-s1") == (settings["benchmark"], settings["start"])


def test_with_requests_the_original_is_trained_once_and_everything_else_a_request(plan):
    specs = {spec.name: spec.after for spec in jobs(read_card("demo"), plan())}
    assert {
        "original-s0": (), "original@zero-s0": ("original-s0",), "original@one-s0": ("original-s0",),
        "retrain@zero-s0": (), "retrain@one-s0": (),
        "ascent@zero-s0": ("original-s0",), "ascent@one-s0": ("original-s0",),
    } == specs  # fmt: skip
    settings = run_settings(read_card("demo"), plan(), Point("original", 0, "one"))
    assert ({"name": "as_given"}, "../original-s0") == (settings["method"], settings["start"])
    assert {"name": "demo", "concept": 1} == settings["benchmark"]


def test_in_a_sequence_a_step_starts_from_the_one_before_and_retraining_does_not(plan):
    card, wanted = read_card("demo"), plan("steps", seeds=2)
    found = {point.name: point for point in points(card, wanted)}
    assert ("zero",) == found["ascent@one-s1"].earlier
    assert () == found["retrain@one-s1"].earlier == found["original@one-s1"].earlier
    specs = {spec.name: spec.after for spec in jobs(card, wanted)}
    assert ("original-s1",) == specs["ascent@zero-s1"] and ("ascent@zero-s1",) == specs["ascent@one-s1"]


def test_targets_of_a_request_are_the_answers_of_its_own_original(plan, other_card):
    content = card_content()
    content["splits"]["unseen"]["targets_from"] = "test"
    other_card(content)
    specs = {spec.name: spec.after for spec in jobs(read_card("demo"), plan())}
    assert ("original@one-s0",) == specs["retrain@one-s0"]
    assert ("original-s0", "original@one-s0") == specs["ascent@one-s0"]
    assert ("original-s0",) == specs["original@one-s0"]


def test_requests_are_chosen_in_the_tables_order_with_near_misses(plan):
    card = read_card("demo")
    names = [p.name for p in points(card, plan(requests=("one",))) if p.row == "ascent"]
    assert ["ascent@one-s0"] == names
    both = [p.request for p in points(card, plan(requests=("one", "zero"))) if p.row == "ascent"]
    assert ["zero", "one"] == both
    with pytest.raises(UserError, match=r"no request 'zer'\. Did you mean zero"):
        points(card, plan(requests=("zer",)))
    with pytest.raises(UserError, match="'plain' of demo has no requests"):
        points(card, plan("plain", requests=("zero",)))


def test_a_costly_row_runs_for_the_requests_of_its_edition_unless_it_is_named(plan, other_card):
    content = card_content()
    content["tables"]["asked"]["row_requests"] = {"mini": {"retrain": ["one"]}}
    other_card(content)
    card = read_card("demo")
    assert ["one"] == [p.request for p in points(card, plan()) if p.row == "retrain"]
    assert ["zero", "one"] == [p.request for p in points(card, plan()) if p.row == "ascent"]
    assert ["zero", "one"] == [p.request for p in points(card, plan(rows=("retrain",))) if p.row == "retrain"]


def test_the_command_refuses_a_misspelt_request(tmp_path, capsys):
    words = ["reproduce", "demo", "--table", "asked", "--requests", "onee", "--out", str(tmp_path / "out")]
    assert 2 == main(words)
    assert "Did you mean one?" in capsys.readouterr().err


# ---- running -------------------------------------------------------------------------------------------------------
def test_cells_are_means_over_requests_and_every_request_is_kept(asked):
    table, runs = asked.table, asked.runs
    assert ["original", "retrain", "ascent"] == [row["row"] for row in table["rows"]]
    row = row_of(table, "ascent")
    by_seed = [
        np.mean([results(runs / f"ascent@{name}-s{seed}")["cells"]["forget/nll"]["value"] for name in REQUESTS])
        for seed in (0, 1)
    ]
    cell = row["cells"]["forget/nll"]
    assert np.mean(by_seed) == pytest.approx(cell["value"], abs=1e-12)
    assert np.std(by_seed, ddof=1) == pytest.approx(cell["std"], abs=1e-12) and cell["std"] > 0
    assert EACH == cell["n"] and [0, 1] == row["seeds"]
    assert ["zero", "one"] == list(row["requests"])
    own, other = (results(runs / f"ascent@one-s{seed}")["cells"]["forget/nll"]["value"] for seed in (0, 1))
    assert (own + other) / 2 == pytest.approx(row["requests"]["one"]["cells"]["forget/nll"]["value"], abs=1e-12)
    assert "retrain" == row_of(table, "original")["method"]  # it is trained, once a seed
    page = (asked.plan.out / "table.html").read_text()
    assert "Request by request" in page and "<th>requests</th>" in page
    assert "| requests |" in (asked.plan.out / "table.md").read_text()


def test_a_request_forgets_its_own_concept(asked):
    for concept, name in enumerate(REQUESTS):
        losses = losses_of(asked.runs / f"ascent@{name}-s0")
        assert losses[concept] == max(losses) > 1.0, (name, losses)


def losses_of(folder: Path) -> list[float]:
    """Mean loss of every concept."""
    rows = read_rows(folder / "responses" / "answers")
    return [float(np.mean([row["nll"] for row in rows if f"/{c}/" in row["id"]])) for c in range(CONCEPTS)]


def test_what_the_original_answered_once_is_taken_over(asked):
    runs, folder = asked.runs, asked.runs / "original@one-s0"
    shared = {event["split"]: event for event in Run.scratch(folder).events("responses_shared")}
    assert ("original-s0", CONCEPTS * EACH) == (shared["answers"]["run"], shared["answers"]["rows"])
    assert "forget" not in shared  # another request, another forget set
    assert digest_of(runs / "original-s0") == digest_of(folder)
    one, other = (read_rows(runs / name / "responses/answers") for name in ("original-s0", "original@one-s0"))
    assert one == other and CONCEPTS * EACH == len(one)
    assert [] == Run.scratch(runs / "ascent@one-s0").events("responses_shared")


def test_comparisons_are_with_the_same_request(copied, tmp_path, monkeypatch):
    from mmunlearn import pipeline

    seen, plainly = {}, pipeline.rescore

    def rescore(path, compare, data):
        seen[path.name] = compare
        return plainly(path, compare, data)

    monkeypatch.setattr(pipeline, "rescore", rescore)
    reproduce(copied.plan, Debug(tmp_path / "logs"))
    compare = seen["ascent@one-s1"]
    assert ("retrain@one-s1", "original@one-s1") == (compare.reference.name, compare.original.name)


def test_a_sequence_is_a_chain_of_checkpoints_and_metrics_know_what_was_asked(asked, plan, tmp_path, monkeypatch):
    from mmunlearn.metrics.top1 import Top1

    seen, plainly = [], Top1.reduce
    monkeypatch.setattr(Top1, "reduce", lambda self, sight: (seen.append(sight.requests), plainly(self, sight))[1])
    table = reproduce(plan("steps"), Debug(tmp_path / "logs"))
    first, second = (tmp_path / "out/runs" / f"ascent@{name}-s0" for name in REQUESTS)
    assert "../ascent@zero-s0" == Run.read(second)["start"]
    assert ("one", ["zero"]) == (results(second)["request"], results(second)["earlier"])
    assert ({"concept": 0}, {"concept": 1}) in seen
    assert digest_of(first) == digest_of(asked.runs / "ascent@zero-s0")  # the first step is the request alone
    # The second step keeps what the first one did: concept 0 is worse off than where only concept 1 was asked.
    assert losses_of(second)[0] > 2 * losses_of(asked.runs / "ascent@one-s0")[0]
    assert ["zero", "one"] == list(row_of(table, "ascent")["requests"])


def test_request_rows_stand_apart_beside_the_two_anchors(plan, tmp_path):
    table = reproduce(plan("apart"), Debug(tmp_path / "logs"))
    assert [
        "original", "original@zero", "original@one", "retrain", "retrain@zero", "retrain@one", "ascent@zero",
        "ascent@one",
    ] == [row["row"] for row in table["rows"]]  # fmt: skip
    own = results(tmp_path / "out/runs/ascent@one-s0")["cells"]["forget/top1"]["value"]
    assert own == row_of(table, "ascent@one")["cells"]["forget/top1"]["value"]
    assert "requests" not in row_of(table, "ascent@one")
    assert "Ascent, one" in (tmp_path / "out" / "table.md").read_text()


# ---- again ---------------------------------------------------------------------------------------------------------
def test_the_same_again_runs_nothing_and_writes_the_same_table(copied, tmp_path):
    before = {path.name: (path / "events.jsonl").read_text() for path in copied.runs.iterdir()}
    launcher = Counting(tmp_path / "logs")
    assert copied.table == reproduce(copied.plan, launcher) == report_again(copied.plan)
    assert [] == launcher.names
    assert before == {path.name: (path / "events.jsonl").read_text() for path in copied.runs.iterdir()}


def test_a_missing_run_alone_is_made_again(copied, tmp_path):
    shutil.rmtree(copied.runs / "ascent@one-s0")
    launcher = Counting(tmp_path / "logs")
    again = reproduce(copied.plan, launcher)
    assert ["ascent@one-s0"] == launcher.names
    assert row_of(copied.table, "ascent")["requests"] == row_of(again, "ascent")["requests"]


def test_a_request_with_other_settings_is_refused(copied, tmp_path, other_card):
    content = card_content()
    content["tables"]["asked"]["requests"]["one"]["shift"] = 0.5
    other_card(content)
    with pytest.raises(UserError, match=r"other settings \(benchmark.shift"):
        reproduce(copied.plan, Debug(tmp_path / "logs"))


@pytest.fixture
def failing(monkeypatch):
    """`failing(method, run)`: that run of a method fails."""

    def put(name: str, run_name: str) -> None:
        method = registry.load("methods", name)
        plainly = method.phases

        def phases(self, handle, data, run):
            if run.path.name == run_name:
                raise UserError("this one fails")
            return plainly(self, handle, data, run)

        monkeypatch.setattr(method, "phases", phases)

    return put


def test_a_failed_step_blocks_the_next_and_the_rest_is_reported(plan, tmp_path, failing):
    failing("grad_ascent", "ascent@zero-s0")
    table = reproduce(plan("steps"), Debug(tmp_path / "logs"))
    assert not (tmp_path / "out/runs/ascent@one-s0").exists()
    assert ["original", "retrain"] == [row["row"] for row in table["rows"]]


def test_a_failed_anchor_is_named(copied, tmp_path, failing):
    failing("grad_ascent", "ascent@zero-s0")
    failing("retrain", "retrain@one-s0")
    for name in ("ascent@zero-s0", "retrain@one-s0"):
        shutil.rmtree(copied.runs / name)
    shutil.rmtree(cache_folder("models"))
    with pytest.raises(UserError, match="retrain@one-s0 failed"):
        reproduce(copied.plan, Debug(tmp_path / "logs"))


def test_unlearn_by_hand_takes_the_requests_settings(asked, tmp_path, world):
    words = ["--quiet", "benchmark.name=demo", "row=ascent", "evaluate.table=asked", f"root={world}",
             f"start={asked.runs / 'original-s0'}"]  # fmt: skip
    assert 0 == main(["unlearn", "--out", str(tmp_path / "own"), *words, "request=zero"])
    assert {"name": "demo", "concept": 0} == Run.read(tmp_path / "own")["benchmark"]
    assert 2 == main(["unlearn", "--out", str(tmp_path / "other"), *words, "request=zeroo"])


def test_the_report_verb_reads_the_runs_of_requests(asked, tmp_path, capsys):
    assert 0 == main(["report", str(asked.plan.out), "--format", "json"])
    assert asked.table == json.loads(capsys.readouterr().out)
    html = tmp_path / "page.html"
    assert 0 == main(["report", str(asked.plan.out), "--format", "html", "--no-pictures", "--out", str(html)])
    assert "Request by request" in html.read_text()


def test_a_victim_brings_its_attacks_unless_some_are_named():
    card = read_card("unlearndiffatk")
    own = [f"esd+{attack}" for attack in card.tables["main"].attacks]
    assert own and set(chosen_rows(card, "main", ["esd"])) == {"original", "retrain", "esd", *own}
    assert {"original", "retrain", "esd", "esd+p4d"} == set(chosen_rows(card, "main", ["esd", "esd+p4d"]))
    assert {"original", "retrain", "esd", "esd+p4d"} == set(chosen_rows(card, "main", ["esd+p4d"]))
