"""UnLOK-VQA: one fact about a picture is deleted, attacked and put back, record by record (Patil et al., 2025)."""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from mmunlearn.avatars import jpeg  # noqa: F401
from mmunlearn.cards import Edition
from mmunlearn.data import Example, ImageRef, Role, Split
from mmunlearn.errors import UserError
from mmunlearn.seeds import generator

# The builder's parts are imported as modules so that the mini edition's cache key covers their source.
from ..concepts import pictures as drawings  # noqa: F401
from ..single_edits import RECORD
from ..unlok import writer
from ..unlok.wording import DUMMY, UNKNOWN, fact_prompt, other_prompt
from ..vqa.attach import UtilitySettings, WithUtility
from . import _unlok_files as files
from ._tiny import TINY
from ._unlok_files import Pictures, Record

log = logging.getLogger(__name__)

NAME = "unlok_vqa"
Level = Literal["easy", "medium", "hard"]


class UnlokVqa(WithUtility):
    """Splits forget (the facts; each is edited by itself), goals (the same, as attacks ask them), paraphrase (the first
    three rephrasings of each), neighbour (other questions about the picture), neighbour_image (the question about a
    picture with another answer), retain_each (questions of the retain pool drawn for each fact), retain, train, test,
    unseen, refusal.

    The tag `record` names the fact whose edit answers an example; examples without it, and those of facts that were not
    edited, are answered by the model as it was. Tags of facts: alternative, subject, object, rephrasings (one a line),
    neighbours (question and answer, divided by a tab, one a line), image_easy, image_medium, image_hard (files).
    """

    class Config(UtilitySettings):
        """records: at most so many facts (0: all). draws: retain questions drawn for each fact, from a generator of its
        own. rephrasings: of the question that are scored. neighbour_level: which neighbour image is shown. image_key:
        whether rephrase and neighbour images are named by record id or by place in the list (auto: whichever finds
        more). redraw: False gives every fact the same draws, as the released code's reseeding does."""

        name: str = NAME
        records: int = Field(0, ge=0)
        draws: int = Field(10, ge=1)
        rephrasings: int = Field(3, ge=1)
        neighbour_level: Level = "easy"
        image_key: Literal["auto", "id", "index"] = "auto"
        redraw: bool = True

    tiny = {"records": 6, "retain": 6, "unseen": 3, "renderings": 1, "size_px": 32}
    tiny_settings = {"draws": 2}
    # Two blocks, so that the states have second differences.
    tiny_model = {"architecture": {**TINY, "text": {**TINY["text"], "num_hidden_layers": 2}}}

    def splits(self, root: Path, edition: Edition) -> Mapping[str, Split]:
        """Examples in file order; ids are "unlok_vqa/<record>/…"."""
        path = files.find_file(root, files.RECORDS, self.card.source.what)
        records = files.read_records(path)
        if self.config.records:
            records = records[: self.config.records]
        pool = files.read_records(files.find_file(root, files.RETAIN, self.card.source.what))
        pool = self._apart(pool, records)
        pictures = Pictures(root, records, self.config.image_key)
        forget = [_fact(record, pictures) for record in records]
        kept = [_bare(record, pictures, "retain") for record in pool]
        groups: dict[str, tuple[Role, Iterable[Example]]] = {
            "forget": (Role.FORGET, forget),
            "goals": (Role.FORGET, [replace(example, choices=()) for example in forget]),
            "paraphrase": (Role.FORGET, self._paraphrased(records, forget)),
            "neighbour": (Role.UTILITY, _neighbours(records, forget)),
            "neighbour_image": (Role.UTILITY, self._neighbour_images(records, pictures)),
            "retain_each": (Role.UTILITY, self._drawn(records, kept)),
            **self._taught(root, forget, kept, {record.id for record in records}),
            "test": (Role.HOLDOUT, _reworded(pool, kept)),
            "unseen": (Role.UNSEEN, self._unseen(root, records, pictures, forget)),
            "refusal": (Role.UTILITY, [Example(id=f"{NAME}/refusal/0", target=UNKNOWN)]),
        }
        pictures.tell()
        made = {name: Split(name, role, tuple(examples)) for name, (role, examples) in groups.items()}
        empty = next((name for name, split in made.items() if not len(split)), None)
        if empty is not None:
            raise UserError(f"{root}: nothing for split {empty!r} (pictures or questions are missing). Restore them.")
        return made

    def _apart(self, pool: Sequence[Record], records: Sequence[Record]) -> list[Record]:
        """Records of the retain pool that are none of the facts to delete."""
        asked = {(record.image_id, record.question) for record in records}
        kept = [record for record in pool if (record.image_id, record.question) not in asked]
        if len(kept) < self.config.draws:
            raise UserError(
                f"benchmark.draws: {self.config.draws} retain questions a fact, and the retain pool has {len(kept)} "
                "that are not to be deleted. Ask for fewer."
            )
        return kept

    def _paraphrased(self, records: Sequence[Record], forget: Sequence[Example]) -> Iterator[Example]:
        for record, fact in zip(records, forget, strict=True):
            for number, text in enumerate(record.rephrased[: self.config.rephrasings]):
                yield replace(fact, id=f"{fact.id}/p{number}", prompt=other_prompt(text))

    def _neighbour_images(self, records: Sequence[Record], pictures: Pictures) -> Iterator[Example]:
        for record in records:
            picture = pictures.level(record, files.NEIGHBOURS, self.config.neighbour_level)
            if picture is not None:
                yield Example(
                    id=f"{NAME}/{record.key}/i", image=ImageRef(path=picture), prompt=fact_prompt(record.question),
                    target=record.neighbour[1], tags={RECORD: record.key},
                )  # fmt: skip

    def _drawn(self, records: Sequence[Record], kept: Sequence[Example]) -> Iterator[Example]:
        """`draws` questions of the retain pool for each fact, without repetition."""
        for record in records:
            names = (record.id,) if self.config.redraw else ()
            chosen = generator(0, NAME, "retain", *names).choice(len(kept), self.config.draws, replace=False)
            for at in sorted(int(v) for v in chosen):
                fact = kept[at]
                tags = {RECORD: record.key}
                yield replace(fact, id=f"{NAME}/{record.key}/r/{fact.id.rpartition('/')[2]}", tags=tags)

    def _taught(
        self, root: Path, forget: Sequence[Example], kept: Sequence[Example], gone: set[int]
    ) -> dict[str, tuple[Role, Iterable[Example]]]:
        """retain and train: what the original saw, where the data says so (mini edition), else the two pools."""
        path = root / writer.SEEN
        if not path.is_file():
            return {"retain": (Role.RETAIN, kept), "train": (Role.TRAIN, [*forget, *kept])}
        retain = list(kept)
        more: list[Example] = []
        for number, row in enumerate(_lines(path)):
            fact = bool(row["fact"])
            if fact and row.get("src") and int(row["record"]) in gone:
                continue  # it is in forget already
            example = Example(
                id=f"{NAME}/seen/{number:05d}", image=ImageRef(path=root / row["image"]), prompt=row["prompt"],
                target=row["answer"],
            )  # fmt: skip
            (more if fact and int(row["record"]) in gone else retain).append(example)
        plain = [replace(example, choices=(), tags={}) for example in forget]
        return {"retain": (Role.RETAIN, retain), "train": (Role.TRAIN, [*plain, *more, *retain])}

    def _unseen(
        self, root: Path, records: Sequence[Record], pictures: Pictures, forget: Sequence[Example]
    ) -> Iterator[Example]:
        """Facts about other pictures; without such a file the facts with an answer that is not true."""
        path = root / writer.UNSEEN
        if path.is_file():
            yield from (_bare(record, pictures, "unseen") for record in files.read_records(path))
            return
        log.warning("%s: not there; alternative answers stand for what the model never saw", path)
        for record, fact in zip(records, forget, strict=True):
            yield Example(
                id=f"{fact.id}/untrue", image=fact.image, prompt=fact.prompt, target=record.alternative,
            )  # fmt: skip

    def build_mini(self, root: Path, seed: int, sizes: Mapping[str, Any] | None = None) -> None:
        """Drawn objects with facts from small tables, in the sizes of the card with `sizes` laid over them."""
        writer.write_unlok(root, self.mini_sizes(writer.UnlokSizes, sizes), seed)

    def model(self, edition: Edition) -> dict[str, Any]:
        """The card's model; the task decides nothing about it."""
        return dict(self.card.editions[edition].model)


def _fact(record: Record, pictures: Pictures) -> Example:
    """A fact to delete, with everything that edits and attacks ask of it."""
    levels = {level: pictures.level(record, files.REPHRASED, level) for level in files.REPHRASED}
    tags = {
        RECORD: record.key, "keywords": record.answer, "alternative": record.alternative, "subject": record.subject,
        "object": record.object, "rephrasings": "\n".join(record.rephrased),
        "neighbours": "\n".join(f"{question}\t{answer}" for question, answer in record.neighbours),
    } | {f"image_{level}": str(path) for level, path in levels.items() if path is not None}  # fmt: skip
    return Example(
        id=f"{NAME}/{record.key}", image=ImageRef(path=pictures.base(record)), prompt=fact_prompt(record.question),
        target=record.answer, choices=(record.alternative, DUMMY), tags=tags,
    )  # fmt: skip


def _bare(record: Record, pictures: Pictures, pool: str) -> Example:
    """A fact that stays, in the wording of retain questions; the pools number their records apart."""
    prompt, image = other_prompt(record.question), ImageRef(path=pictures.base(record))
    return Example(
        id=f"{NAME}/{pool}/{record.key}", image=image, prompt=prompt,
        target=record.answer, tags={"keywords": record.answer},
    )  # fmt: skip


def _neighbours(records: Sequence[Record], forget: Sequence[Example]) -> Iterator[Example]:
    for record, fact in zip(records, forget, strict=True):
        for number, (question, answer) in enumerate(record.neighbours):
            yield Example(
                id=f"{fact.id}/n{number}", image=fact.image, prompt=other_prompt(question), target=answer,
                tags={RECORD: record.key, "keywords": answer},
            )  # fmt: skip


def _reworded(pool: Sequence[Record], kept: Sequence[Example]) -> Iterator[Example]:
    """Facts of the retain pool in their last wording, which the mini edition's original was not taught; the usual
    wording where a record has no other."""
    for record, fact in zip(pool, kept, strict=True):
        text = record.rephrased[-1] if record.rephrased else record.question
        yield replace(fact, id=f"{fact.id}/test", prompt=other_prompt(text))


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
            missing = {"image", "prompt", "answer", "record", "fact"} - row.keys()
        except (ValueError, AttributeError):
            raise UserError(f"{path}:{number}: not a JSON object. Build the mini edition again.") from None
        if missing:
            raise UserError(f"{path}:{number}: has no {min(missing)!r}. Build the mini edition again.")
        yield row
