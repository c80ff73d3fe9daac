"""FIUBench: private facts about synthetic faces; the facts of some identities are to be forgotten (Ma et al., 2025)."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

# The builder's parts are imported as modules so that the mini edition's cache key covers their source.
from mmunlearn.avatars import drawing, jpeg, looks, persons  # noqa: F401
from mmunlearn.benchmark import check_counts
from mmunlearn.cards import Edition
from mmunlearn.data import Example, ImageRef, Role, Split

from ..profiles import facts, fiubench_writer, questions, wording  # noqa: F401
from ..vqa.attach import UtilitySettings, WithUtility
from ._fiubench_files import (
    FULL,
    IDENTITIES,
    REFUSALS,
    SPLITS,
    UNSEEN,
    Identity,
    check_disjoint,
    find_folder,
    read_identities,
    read_refusals,
    read_split_lists,
)
from ._tiny import TINY

log = logging.getLogger(__name__)

FORGET_SETS = ("forget1", "forget5", "forget10")
ALLOW = "benchmark.check_counts=false"


class Fiubench(WithUtility):
    """Splits forget, retain (what the retain model is trained on), rest (the other two forget sets: the original is
    trained on them, no retain model is), train (all of these), test (retain5, on which the paper measures utility),
    forget_ape (the paraphrased questions of forget), refusal, and unseen.

    unseen: the identities of `unseen.json`, which the mini edition has; the paper has no identity outside training, so
    without that file it is the forget questions with an answer that is not true (perturbed), which nobody was taught.

    An example's choices are the paraphrased answer and then the perturbed ones; the tag keywords holds one a line.
    """

    class Config(UtilitySettings):
        """split: which list of split.json is forgotten. Retain leaves out the identities of all three, whichever it is,
        as in the reference. check_counts: refuse full data of another size than the paper's."""

        name: str = "fiubench"
        split: Literal["forget1", "forget5", "forget10"] = "forget5"
        check_counts: bool = True

    variants = {name: {"split": name} for name in FORGET_SETS}
    tiny = {
        "identities": 12, "forget1": 1, "forget5": 2, "forget10": 3, "retain5": 2, "retain15": 4, "unseen": 2,
        "perturbed": 3, "size_px": 32,
    }  # fmt: skip
    tiny_model = {"architecture": TINY}

    def splits(self, root: Path, edition: Edition) -> Mapping[str, Split]:
        """Examples in file order; ids are "fiubench/<identity>/<question>", the same in every split and variant."""
        folder = find_folder(root, self.card.source.what)
        people = read_identities(folder / FULL, IDENTITIES)
        lists = read_split_lists(folder / SPLITS, [one.key for one in people], (*FORGET_SETS, "retain5"))
        for first, second in (*_pairs(FORGET_SETS), *((name, "retain5") for name in FORGET_SETS)):
            check_disjoint(folder / SPLITS, lists, first, second)
        wanted = lists[self.config.split]
        gone = frozenset().union(*(lists[name] for name in FORGET_SETS))
        forget = [one for one in people if one.key in wanted]
        groups: dict[str, tuple[Role, Iterable[Example]]] = {
            "forget": (Role.FORGET, _examples(forget)),
            "retain": (Role.RETAIN, _examples(one for one in people if one.key not in gone)),
            "rest": (Role.TRAIN, _examples(one for one in people if one.key in gone - wanted)),
            "train": (Role.TRAIN, _examples(people)),
            "test": (Role.UTILITY, _examples(one for one in people if one.key in lists["retain5"])),
            "forget_ape": (Role.FORGET, _paraphrased(forget)),
            "unseen": (Role.UNSEEN, self._unseen(folder, people, forget)),
            "refusal": (Role.UTILITY, _refusals(read_refusals(folder))),
        }
        splits = {name: Split(name, role, tuple(examples)) for name, (role, examples) in groups.items()}
        if edition == "full" and self.config.check_counts:
            sizes = {name: len(split) for name, split in splits.items() if name != "unseen"}
            check_counts(self.card, sizes, self.config.split, _sources(folder), ALLOW)
        return splits

    def _unseen(self, folder: Path, people: Sequence[Identity], forget: Sequence[Identity]) -> Iterator[Example]:
        path = folder / UNSEEN
        if not path.is_file():
            log.warning("%s: not there; answers that are not true stand for what the model never saw", path)
            return _untrue(forget)
        others = read_identities(path)
        check_disjoint(
            path, {"train": frozenset(o.key for o in people), UNSEEN: frozenset(o.key for o in others)}, UNSEEN, "train"
        )
        return _examples(others)

    def build_mini(self, root: Path, seed: int, sizes: Mapping[str, Any] | None = None) -> None:
        """Avatars and invented profiles in the real layout, in the sizes of the card with `sizes` laid over them."""
        fiubench_writer.write_fiubench(root, self.mini_sizes(fiubench_writer.FiubenchSizes, sizes), seed)

    def model(self, edition: Edition) -> dict[str, Any]:
        """The card's model; the task decides nothing about it."""
        return dict(self.card.editions[edition].model)


def _examples(people: Iterable[Identity]) -> Iterator[Example]:
    for one in people:
        image = ImageRef(path=one.picture)  # shared by the identity's questions, so that it is read once
        for number, item in enumerate(one.questions):
            yield Example(
                id=f"fiubench/{one.key}/{number:02d}",
                image=image,
                prompt=item.question,
                target=item.answer,
                choices=(item.paraphrased_answer, *item.perturbed_answers),
                tags={"identity": one.key, "keywords": "\n".join(item.keywords)},
            )


def _paraphrased(people: Iterable[Identity]) -> Iterator[Example]:
    """Every paraphrased question of every item, with the item's answer."""
    for one in people:
        image = ImageRef(path=one.picture)
        for number, item in enumerate(one.questions):
            for way, question in enumerate(item.paraphrased_questions):
                yield Example(
                    id=f"fiubench/{one.key}/{number:02d}/p{way}",
                    image=image,
                    prompt=question,
                    target=item.answer,
                    tags={"identity": one.key, "keywords": "\n".join(item.keywords)},
                )


def _untrue(people: Iterable[Identity]) -> Iterator[Example]:
    """Every item with its first perturbed answer as the target, and no keyword."""
    for one in people:
        image = ImageRef(path=one.picture)
        for number, item in enumerate(one.questions):
            yield Example(
                id=f"fiubench/{one.key}/{number:02d}/untrue",
                image=image,
                prompt=item.question,
                target=item.perturbed_answers[0],
                tags={"identity": one.key, "keywords": ""},
            )


def _refusals(sentences: Sequence[str]) -> Iterator[Example]:
    for number, sentence in enumerate(sentences):
        yield Example(id=f"fiubench/refusal/{number:03d}", target=sentence)


def _pairs(names: Sequence[str]) -> list[tuple[str, str]]:
    return [(first, second) for i, first in enumerate(names) for second in names[i + 1 :]]


def _sources(folder: Path) -> dict[str, Path]:
    """Which file decides the size of each split."""
    lists = dict.fromkeys(("forget", "retain", "rest", "test", "forget_ape"), folder / SPLITS)
    return {**lists, "train": folder / FULL, "refusal": folder / REFUSALS}
