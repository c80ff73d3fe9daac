"""CLEAR: captioned faces of TOFU's invented authors; some authors are to be forgotten (Dontsov et al., 2025)."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

# The builder's parts are imported as modules so that the mini edition's cache key covers their source.
from mmunlearn.avatars import drawing, jpeg, looks, persons  # noqa: F401
from mmunlearn.benchmark import Benchmark, check_counts
from mmunlearn.cards import Edition
from mmunlearn.data import Example, Role, Split
from mmunlearn.errors import UserError
from mmunlearn.settings import Settings
from mmunlearn.tables import Record

from ..profiles import clear_writer, facts, parquet_folder  # noqa: F401
from ..refusals import REFUSALS
from ._parquet_rows import configuration_files, list_cell, picture, read_configuration, text_cell
from ._tiny import TINY

ALLOW = "benchmark.check_counts=false"
CAPTION, WHO = "What is shown in this picture?", "Who is this person?"
PLAIN = {"image": (), "caption": (), "name": ()}
TOFU = {**PLAIN, "question": (), "answer": ()}
PERTURBED = {**PLAIN, "paraphrased_caption": (), "perturbed_captions": (), "perturbed_names": ()}


class Clear(Benchmark):
    """Splits forget, retain and train (pictures with captions, and questions without pictures), forget_perturbed and
    test (retain_perturbed) with a paraphrased and untrue captions as choices, real_faces and real_world with names, and
    refusal; unseen (authors that no model is trained on) in the mini edition, which also teaches the real persons."""

    class Config(Settings):
        """forget: which of the nested forget sets. text: learn and forget the questions without pictures too (the
        "+tofu" configurations). check_counts: refuse full data of another size than the hub's."""

        name: str = "clear"
        forget: Literal["01", "05", "10"] = "10"
        text: bool = True
        check_counts: bool = True

    variants = {"forget01": {"forget": "01"}, "forget05": {"forget": "05"}, "forget10": {"forget": "10"}}
    tiny = {
        "authors": 6, "unseen": 1, "real": 2, "forget01": 1, "forget05": 2, "forget10": 3, "pictures": 2,
        "perturbed": 2, "size_px": 32,
    }  # fmt: skip
    tiny_model = {"architecture": TINY}

    def splits(self, root: Path, edition: Edition) -> Mapping[str, Split]:
        """Examples in file order; ids are "clear/<configuration without its share>/<name>/<row>"."""
        share, suffix = self.config.forget, "+tofu" if self.config.text else ""
        columns = TOFU if self.config.text else PLAIN
        forget = self._read(root, f"forget{share}{suffix}", columns)
        retain = self._read(root, f"retain{100 - int(share)}{suffix}", columns)
        both = sorted({r["name"] for r in forget} & {r["name"] for r in retain})
        if both:
            raise UserError(f"{forget[0].path}: author {both[0]!r} is in the retain set too. Fetch the data again.")
        real = {name: self._read(root, name, PERTURBED) for name in ("real_faces", "real_world")}
        groups: dict[str, tuple[Role, list[Example]]] = {
            "forget": (Role.FORGET, list(_learned(forget))),
            "retain": (Role.RETAIN, list(_learned(retain))),
            "forget_perturbed": (Role.FORGET, list(_tested(self._read(root, f"forget{share}_perturbed", PERTURBED)))),
            "test": (Role.UTILITY, list(_tested(self._read(root, "retain_perturbed", PERTURBED)))),
            "real_faces": (Role.UTILITY, list(_named(real["real_faces"], "real_faces"))),
            "real_world": (Role.UTILITY, list(_named(real["real_world"], "real_world"))),
            "refusal": (
                Role.UTILITY, [Example(id=f"clear/refusal/{i:03d}", target=text) for i, text in enumerate(REFUSALS)]
            ),
        }  # fmt: skip
        if edition == "mini":
            groups["retain"][1].extend(e for name, rows in real.items() for e in _named(rows, name, choices=False))
        groups["train"] = (Role.TRAIN, [*groups["forget"][1], *groups["retain"][1]])
        if configuration_files(root, "unseen_perturbed", "", needed=False):
            groups["unseen"] = (Role.UNSEEN, list(_tested(self._read(root, "unseen_perturbed", PERTURBED))))
        splits = {name: Split(name, role, tuple(examples)) for name, (role, examples) in groups.items()}
        if edition == "full" and self.config.check_counts:
            variant = f"forget{share}{suffix}"
            sizes = {name: len(split) for name, split in splits.items() if name in self.card.splits}
            check_counts(self.card, sizes, variant, dict.fromkeys(sizes, root), ALLOW)
        return splits

    def _read(self, root: Path, name: str, columns: Mapping[str, tuple[str, ...]]) -> list[Record]:
        files = configuration_files(root, name, f"clear needs: {self.card.source.what}")
        records = read_configuration(files, columns)
        for record in records:
            text_cell(record, record["name"], "name")
        return records

    def build_mini(self, root: Path, seed: int, sizes: Mapping[str, Any] | None = None) -> None:
        """Avatars with captions in the real layout, in the sizes of the card with `sizes` laid over them."""
        clear_writer.write_clear(root, self.mini_sizes(clear_writer.ClearSizes, sizes), seed)

    def model(self, edition: Edition) -> dict[str, Any]:
        """The card's model; the task decides nothing about it."""
        return dict(self.card.editions[edition].model)


def _numbered(records: Sequence[Record]) -> Iterator[tuple[str, Record]]:
    """Each record with "<name>/<its number among the name's rows>", the same whichever share is read."""
    seen: dict[str, int] = {}
    for record in records:
        name = record["name"]
        seen[name] = seen.get(name, -1) + 1
        yield f"{name}/{seen[name]:03d}", record


def _learned(records: Sequence[Record]) -> Iterator[Example]:
    """A caption of each picture, an answer to each question without one."""
    for key, record in _numbered(records):
        pictured = record["image"] is not None
        question, answer = ("", "caption") if pictured else ("question", "answer")
        yield Example(
            id=f"clear/{key}",
            image=picture(record, record["image"], "image") if pictured else None,
            prompt=CAPTION if pictured else text_cell(record, record.get(question), question),
            target=text_cell(record, record.get(answer), answer),
            tags={"identity": record["name"]},
        )


def _tested(records: Sequence[Record]) -> Iterator[Example]:
    """A picture's caption with its paraphrase and untrue ones as choices."""
    for key, record in _numbered(records):
        untrue = list_cell(record, record["perturbed_captions"], "perturbed_captions")
        yield Example(
            id=f"clear/perturbed/{key}",
            image=picture(record, record["image"], "image"),
            prompt=CAPTION,
            target=text_cell(record, record["caption"], "caption"),
            choices=(
                text_cell(record, record["paraphrased_caption"], "paraphrased_caption"),
                *(text_cell(record, one, f"perturbed_captions[{i}]") for i, one in enumerate(untrue)),
            ),
            tags={"identity": record["name"]},
        )


def _named(records: Sequence[Record], prefix: str, *, choices: bool = True) -> Iterator[Example]:
    """Who a picture shows, with the name and other names as choices."""
    for key, record in _numbered(records):
        others = list_cell(record, record["perturbed_names"], "perturbed_names")
        names = (record["name"], *(text_cell(record, one, f"perturbed_names[{i}]") for i, one in enumerate(others)))
        yield Example(
            id=f"clear/{prefix}/{key}",
            image=picture(record, record["image"], "image"),
            prompt=WHO,
            target=record["name"],
            choices=names if choices else (),
            tags={"identity": record["name"]},
        )
