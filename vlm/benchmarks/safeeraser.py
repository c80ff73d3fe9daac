"""SafeEraser: harmful answers to harmful pictures are to be forgotten, without refusing harmless ones (Chen et al.)."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

# The builder's parts are imported as modules so that the mini edition's cache key covers their source.
from mmunlearn.avatars import jpeg  # noqa: F401
from mmunlearn.cards import Edition
from mmunlearn.data import Example, ImageRef, Role, Split

from ..motifs import pictures, wording, writer  # noqa: F401
from ..vqa.attach import UtilitySettings, WithUtility
from ._safeeraser_files import PROMPTS, TRAIN, VAL, Case, UnsafePair, find_folder, read_cases, read_prompts

log = logging.getLogger(__name__)


class Safeeraser(WithUtility):
    """Splits: forget (harmful question and answer), pd (the same questions on the harmless twin picture with their
    ordinary answers, in forget's order), retain (benign questions on the harmful pictures), kept (retain and pd: what a
    gold model is trained on), train (kept and forget: what the mini's original saw), efficacy and generality (harmful
    questions of the training and of the validation file, `samples` times each), safe (harmful questions of the
    validation file on the twin), benign (benign questions of `benign`'s file), test (the validation file's benign
    questions), unseen (its harmful ones, once each) and refusal.
    """

    class Config(UtilitySettings):
        """samples: answers drawn to a harmful question. benign: the file of the benign questions that are measured.
        without_twin: records without a harmless picture or ordinary answer leave pd out of the data (no_pd; methods
        with the PD loss then say so), or are left out of forget and pd (drop)."""

        name: str = "safeeraser"
        samples: int = Field(3, ge=1)
        benign: Literal["val", "train"] = "val"
        without_twin: Literal["no_pd", "drop"] = "no_pd"

    tiny = {"train_records": 2, "val_records": 1, "size_px": 32}
    tiny_model = {
        "architecture": {
            "vision": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2},
            "text": {
                "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
                "num_key_value_heads": 4,
            },
        },
    }  # fmt: skip

    def splits(self, root: Path, edition: Edition) -> Mapping[str, Split]:
        """Examples in file order; ids are "safeeraser/<file>/<record>/<kind><number>", with "/s<sample>" behind it in
        efficacy and generality. Tags: category, record, unsafe_words (where prompt.json has them), sample."""
        folder = find_folder(root, self.card.source.what)
        refusals, words = read_prompts(folder / PROMPTS)
        train, val = (_Part(name, read_cases(folder / file), words) for name, file in (("train", TRAIN), ("val", VAL)))
        partnered = train.partnered()
        missing = train.pairs - len(partnered)
        if missing:
            log.warning(
                "%s: %d of %d harmful questions have no harmless picture or ordinary answer; %s",
                folder / TRAIN, missing, train.pairs,
                "they are left out" if self.config.without_twin == "drop" else "there is no split pd",
            )  # fmt: skip
        chosen = partnered if self.config.without_twin == "drop" else None
        forget, retain = list(train.harmful(chosen)), list(train.harmless())
        pd = list(train.twins(partnered))
        kept = [*retain, *pd]
        groups: dict[str, tuple[Role, Sequence[Example]]] = {
            "forget": (Role.FORGET, forget),
            "retain": (Role.RETAIN, retain),
            "pd": (Role.UTILITY, pd),
            "kept": (Role.TRAIN, kept),
            "train": (Role.TRAIN, [*forget, *kept]),
            "test": (Role.HOLDOUT, list(val.harmless())),
            "unseen": (Role.UNSEEN, list(val.harmful())),
            "efficacy": (Role.FORGET, _sampled(train.harmful(), self.config.samples)),
            "generality": (Role.HOLDOUT, _sampled(val.harmful(), self.config.samples)),
            "safe": (Role.UTILITY, list(val.twins(val.partnered()))),
            "benign": (Role.UTILITY, list((val if self.config.benign == "val" else train).harmless())),
            "refusal": (Role.UTILITY, [Example(id=f"safeeraser/refusal/{i:03d}", target=t) for i, t in
                                       enumerate(refusals)]),
        }  # fmt: skip
        if missing and chosen is None:
            del groups["pd"]
        splits = {name: Split(name, role, tuple(examples)) for name, (role, examples) in groups.items()}
        for name in ("safe", "benign", "retain"):
            if not len(splits[name]):
                log.warning("%s: split %s is empty; its cells will have no value", folder, name)
        return splits

    def build_mini(self, root: Path, seed: int, sizes: Mapping[str, Any] | None = None) -> None:
        """Drawn motifs and made-up instructions in the real layout, in the card's sizes with `sizes` laid over them."""
        writer.write_safeeraser(root, self.mini_sizes(writer.SafeeraserSizes, sizes), seed)

    def model(self, edition: Edition) -> dict[str, Any]:
        """The card's model; the task decides nothing about it."""
        return dict(self.card.editions[edition].model)


class _Part:
    """The cases of one file as examples."""

    def __init__(self, name: str, cases: Sequence[Case], words: Mapping[str, tuple[str, ...]]):
        self.name, self.cases, self.words = name, cases, words
        self._images: dict[Path, ImageRef] = {}  # shared by a picture's questions, so that it is read once

    @property
    def pairs(self) -> int:
        """Number of harmful questions."""
        return sum(len(case.unsafe) for case in self.cases)

    def partnered(self) -> frozenset[tuple[int, int]]:
        """(record, pair) of the harmful questions that have a twin picture with an ordinary answer."""
        return frozenset((i, k) for i, k, case, pair in self._asked() if case.twin is not None and pair.sd_answer)

    def harmful(self, only: frozenset[tuple[int, int]] | None = None) -> Iterator[Example]:
        """Harmful picture, harmful question, harmful answer."""
        for i, k, case, pair in self._asked():
            if only is None or (i, k) in only:
                yield self._example(f"{i:05d}/unsafe{k}", i, case.picture, pair.question, pair.answer)

    def twins(self, only: frozenset[tuple[int, int]]) -> Iterator[Example]:
        """Harmless picture, the same question (or the record's own wording), ordinary answer."""
        for i, k, case, pair in self._asked():
            if (i, k) in only and case.twin is not None:
                yield self._example(f"{i:05d}/twin{k}", i, case.twin, pair.sd_question, pair.sd_answer)

    def harmless(self) -> Iterator[Example]:
        """Harmful picture, benign question, its answer."""
        for i, case in enumerate(self.cases):
            for field, (question, answer) in case.benign.items():
                kind = field.removeprefix("UnharmPair_")
                yield self._example(f"{i:05d}/{kind}", i, case.picture, question, answer)

    def _asked(self) -> Iterator[tuple[int, int, Case, UnsafePair]]:
        for i, case in enumerate(self.cases):
            for k, pair in enumerate(case.unsafe):
                yield i, k, case, pair

    def _example(self, key: str, record: int, picture: Path, question: str, answer: str) -> Example:
        category = self.cases[record].category
        tags = {"category": category, "record": f"{self.name}/{record:05d}"}
        if category in self.words:
            tags["unsafe_words"] = "\n".join(self.words[category])
        image = self._images.setdefault(picture, ImageRef(path=picture))
        return Example(id=f"safeeraser/{self.name}/{key}", image=image, prompt=question, target=answer, tags=tags)


def _sampled(examples: Iterable[Example], samples: int) -> list[Example]:
    """Each example `samples` times under ids of their own, whose draws differ."""
    return [
        Example(
            id=f"{example.id}/s{sample}", image=example.image, prompt=example.prompt, target=example.target,
            tags={**example.tags, "sample": str(sample)},
        )
        for example in examples
        for sample in range(samples)
    ]  # fmt: skip
