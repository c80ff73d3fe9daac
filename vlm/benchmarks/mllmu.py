"""MLLMU-Bench: invented and famous persons asked about with and without their picture (Liu et al., NAACL 2025)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

# The builder's parts are imported as modules so that the mini edition's cache key covers their source.
from mmunlearn.avatars import drawing, jpeg, looks, persons  # noqa: F401
from mmunlearn.benchmark import Benchmark
from mmunlearn.cards import Edition
from mmunlearn.data import Example, Role, Split
from mmunlearn.errors import UserError
from mmunlearn.seeds import generator
from mmunlearn.settings import Settings
from mmunlearn.tables import Record, unique

from ..profiles import facts, mllmu_writer, parquet_folder, questions, wording  # noqa: F401
from ..refusals import REFUSALS
from ._parquet_rows import configuration_files, list_cell, picture, read_configuration, text_cell
from ._tiny import TINY

LETTERS = "ABCD"
TASKS = ("classification", "cloze", "generation")
KINDS = {"Image_Textual": "", "Pure_Text": "_text"}
COLUMNS = dict.fromkeys(
    ("image", "ID", "question", "answer", "Classification_Task", "Generation_Task", "Mask_Task"), ()
)  # fmt: skip
# Persons in each configuration of the hub's data set.
PERSONS = {
    "Test_Set": 500, "Retain_Set": 153, "forget_5": 25, "forget_10": 50, "forget_15": 75, "retain_95": 475,
    "retain_90": 450, "retain_85": 425,
}  # fmt: skip


class Mllmu(Benchmark):
    """Splits forget, retain and train hold what models learn; `<set>_<task>` and `<set>_<task>_text` hold what is asked
    with a picture and without one, for the sets forget, test (the forget persons in other pictures), retain and
    celebrity and the tasks classification (four options, a letter), cloze (one blank) and generation.

    The mini edition learns every task and the celebrities too, since its model knows neither letters nor famous people.
    """

    class Config(Settings):
        """forget: per cent of the persons. seed: which of a person's other pictures is shown. check_counts: refuse full
        data with another number of persons than the paper's."""

        name: str = "mllmu"
        forget: Literal[5, 10, 15] = 5
        seed: int = 0
        check_counts: bool = True

    variants = {"forget5": {"forget": 5}, "forget10": {"forget": 10}, "forget15": {"forget": 15}}
    tiny = {
        "persons": 6, "celebrities": 2, "unseen": 1, "forget_5": 1, "forget_10": 2, "forget_15": 3, "views": 1,
        "size_px": 32,
    }  # fmt: skip
    tiny_model = {"architecture": TINY}

    def splits(self, root: Path, edition: Edition) -> Mapping[str, Split]:
        """Examples in file order; ids are "mllmu/<set>/<person>/<task>/<number>"."""
        share = self.config.forget
        named = {"forget": f"forget_{share}", "retain": f"retain_{100 - share}", "celebrity": "Retain_Set"}
        people = {name: self._read(root, folder, edition) for name, folder in named.items()}
        shared = sorted({r["ID"] for r in people["forget"]} & {r["ID"] for r in people["retain"]})
        if shared:
            raise UserError(f"{root}: person {shared[0]} is in forget_{share} and in retain_{100 - share}.")
        whole = edition == "mini"
        groups: dict[str, list[Example]] = {
            "forget": list(_learned(people["forget"], "person", whole=whole)),
            "retain": list(_learned(people["retain"], "person", whole=whole)),
        }
        if whole:
            groups["retain"] += _learned(people["celebrity"], "celebrity", whole=True)
        groups["train"] = [*groups["forget"], *groups["retain"]]
        asked = {**people, "test": self._other_pictures(root, people["forget"], edition)}
        for name, records in asked.items():
            # The celebrities' text items are asked about people of the other sets only where there are pictures.
            prefix = {"forget": "person", "retain": "person"}.get(name, name)
            for task in TASKS:
                for kind, suffix in KINDS.items():
                    examples = [e for r in records for e in _items(r, prefix, task, kind)]
                    if examples:
                        groups[f"{name}_{task}{suffix}"] = examples
        groups["refusal"] = [Example(id=f"mllmu/refusal/{i:03d}", target=text) for i, text in enumerate(REFUSALS)]
        unseen = configuration_files(root, "Unseen_Set", "", needed=False)
        if unseen:
            others = read_configuration(unseen, COLUMNS)
            groups["unseen"] = [e for r in others for e in _items(r, "unseen", "generation", "Image_Textual")]
        return {name: Split(name, _role(name), tuple(examples)) for name, examples in groups.items()}

    def _read(self, root: Path, name: str, edition: Edition, *, optional: Sequence[str] = ()) -> list[Record]:
        what = f"mllmu needs: {self.card.source.what}"
        files = configuration_files(root, name, what)
        columns = {**COLUMNS, "images": ()} if optional else COLUMNS
        records = read_configuration(files, columns, optional)
        for record in records:
            text_cell(record, record["ID"], "ID")
        unique(records, "ID")
        if edition == "full" and self.config.check_counts and len(records) != PERSONS[name]:
            raise UserError(
                f"{files[0].parent}: {len(records):,} persons, expected {PERSONS[name]:,}. Fetch {name} again, or set "
                "benchmark.check_counts=false."
            )
        return records

    def _other_pictures(self, root: Path, forget: Sequence[Record], edition: Edition) -> list[Record]:
        """The forget persons' rows of Test_Set with one of their other pictures each, drawn by the seed."""
        wanted = {record["ID"] for record in forget}
        found = [
            r for r in self._read(root, "Test_Set", edition, optional=("image", "images")) if r["ID"] in wanted
        ]  # fmt: skip
        missing = sorted(wanted - {record["ID"] for record in found})
        if missing:
            raise UserError(f"{root}: Test_Set has no row of person {missing[0]}, who is to be forgotten.")
        turned = []
        for record in found:
            views = list_cell(record, record.get("images"), "images")
            pick = int(generator(self.config.seed, "mllmu view", record["ID"]).integers(len(views)))
            turned.append(Record(record.path, record.line, {**record.values, "image": views[pick]}))
        return turned

    def build_mini(self, root: Path, seed: int, sizes: Mapping[str, Any] | None = None) -> None:
        """Avatars and invented profiles in the real layout, in the sizes of the card with `sizes` laid over them."""
        mllmu_writer.write_mllmu(root, self.mini_sizes(mllmu_writer.MllmuSizes, sizes), seed)

    def model(self, edition: Edition) -> dict[str, Any]:
        """The card's model; the task decides nothing about it."""
        return dict(self.card.editions[edition].model)


def _role(name: str) -> Role:
    fixed = {"train": Role.TRAIN, "unseen": Role.UNSEEN, "refusal": Role.UTILITY}
    if name in fixed:
        return fixed[name]
    if name.startswith("retain"):
        return Role.RETAIN
    return Role.UTILITY if name.startswith("celebrity") else Role.FORGET


def _learned(records: Iterable[Record], prefix: str, *, whole: bool) -> Iterator[Example]:
    """The main question and the open ones of every person; `whole`: the other tasks too."""
    for record in records:
        yield Example(
            id=f"mllmu/{prefix}/{record['ID']}/main",
            image=picture(record, record["image"], "image"),
            prompt=text_cell(record, record["question"], "question"),
            target=text_cell(record, record["answer"], "answer"),
            tags={"identity": f"{prefix}/{record['ID']}", "keywords": "", "options": ""},
        )
        for task in TASKS if whole else ("generation",):
            for kind in KINDS:
                yield from _items(record, prefix, task, kind)


def _items(record: Record, prefix: str, task: str, kind: str) -> Iterator[Example]:
    """A person's items of a task, with or without the picture."""
    image = picture(record, record["image"], "image") if kind == "Image_Textual" else None
    for number, (question, target, keywords, options) in enumerate(_asked(record, task, kind)):
        yield Example(
            id=f"mllmu/{prefix}/{record['ID']}/{task}{KINDS[kind]}/{number:02d}",
            image=image,
            prompt=question,
            target=target,
            tags={"identity": f"{prefix}/{record['ID']}", "keywords": keywords, "options": options},
        )


def _asked(record: Record, task: str, kind: str) -> Iterator[tuple[str, str, str, str]]:
    """(question, target, keywords, options) of a task's items of one kind."""
    if task == "classification":
        part = record["Classification_Task"]
        entries = part.get(f"{kind}_Questions") if isinstance(part, dict) else None
        if not isinstance(entries, list):
            raise record.fault(f"Classification_Task.{kind}_Questions must be a list (got {entries!r:.60}).")
        yield from (_choice(record, entry, f"{kind}_Questions[{i}]") for i, entry in enumerate(entries))
        return
    column = "Generation_Task" if task == "generation" else "Mask_Task"
    for number, entry in enumerate(list_cell(record, record[column], column)):
        where = f"{column}[{number}]"
        if not isinstance(entry, dict) or entry.get("Type") not in KINDS:
            raise record.fault(f"{where}.Type must be Image_Textual or Pure_Text (got {entry!r:.60}).")
        if entry["Type"] == kind:
            question = text_cell(record, entry.get("Question"), f"{where}.Question")
            truth = text_cell(record, entry.get("Ground_Truth"), f"{where}.Ground_Truth")
            yield question, truth, truth.replace("\n", " ") if task == "cloze" else "", ""


def _choice(record: Record, entry: Any, where: str) -> tuple[str, str, str, str]:
    if not isinstance(entry, dict):
        raise record.fault(f"{where} is a {type(entry).__name__}, not an object.")
    question = text_cell(record, entry.get("Question"), f"{where}.Question")
    options, letter = entry.get("Options"), entry.get("Correct_Answer")
    if not isinstance(options, dict) or any(not options.get(key) for key in LETTERS):
        raise record.fault(f"{where}.Options must hold texts A to D (got {options!r:.60}).")
    if letter not in tuple(LETTERS):
        raise record.fault(f"{where}.Correct_Answer must be one of A, B, C, D (got {letter!r}).")
    texts = [str(options[key]).replace("\n", " ") for key in LETTERS]
    shown = "\n".join(f"{key}: {text}" for key, text in zip(LETTERS, texts, strict=True))
    return f"{question}\n{shown}", letter, "", "\n".join(texts)
