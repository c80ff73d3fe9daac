"""MMUBench: forget what a concept looks like from one picture of it (Li et al. 2024; vlm_fiu_mmu_safe 2)."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from mmunlearn.avatars import drawing, jpeg, looks, persons  # noqa: F401
from mmunlearn.cards import Edition
from mmunlearn.data import Example, ImageRef, Role, Split, union
from mmunlearn.errors import UserError, near_miss
from mmunlearn.tables import IMAGE_SUFFIXES

from .. import siu_targets

# The builder's parts are imported as modules so that the mini edition's cache key covers their source.
from ..concepts import book as books
from ..concepts import items, pictures, writer  # noqa: F401
from ..concepts.book import Book, Concept
from ..concepts.items import QA
from ..vqa.attach import UtilitySettings, WithUtility
from . import _mmubench_released as released
from ._mmubench_files import Seen, read_plain, read_seen

PLAIN = "vqa"


@dataclass(frozen=True)
class _Folder:
    """A concept and its pictures in natural order; the first one trains."""

    concept: Concept
    pictures: tuple[Path, ...]
    heldout: tuple[Path, ...]


class Mmubench(WithUtility):
    """Splits forget, retain, train, test, siu, refusal, specificity, knowledge, multilingual, multihop, fluency_source,
    fluency, queries, query_text; where the data has them also rest (what the original was shown of the forgotten
    concepts beyond the request) and unseen (concepts never trained on)."""

    class Config(UtilitySettings):
        """concepts: names, or how many of the data's (in file order) are forgotten at once. names, presence: questions
        of that kind about each held-out picture. siu: items of the four targets. others: held-out pictures of each
        retained concept that specificity asks about."""

        name: str = "mmubench"
        concepts: int | str | tuple[str, ...] = 1
        names: int = Field(3, ge=1)
        presence: int = Field(2, ge=0)
        others: int = Field(2, ge=1)
        siu: siu_targets.Counts = siu_targets.Counts()

    variants = {"one": {"concepts": 1}, "five": {"concepts": 5}}
    tiny = {"concepts": 7, "unseen": 2, "renderings": 12, "seen": 10, "size_px": 32}
    tiny_settings = {"others": 1, "names": 1, "presence": 1}
    tiny_model = {
        "architecture": {
            "vision": {
                "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
                "image_size": 32, "patch_size": 16,
            },
            "text": {
                "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
                "num_key_value_heads": 2,
            },
        }
    }  # fmt: skip

    def splits(self, root: Path, edition: Edition) -> Mapping[str, Split]:
        """The splits; ids are "mmubench/<split>/<concept>/…", of what the original saw "mmubench/seen/<row>"."""
        if released.is_released(root):
            return released.splits(root, Book(books.FOLDER / "mmubench.yaml"))
        book = books.find_book(root)
        seen = read_seen(root / writer.SEEN, book) if (root / writer.SEEN).is_file() else []
        folders = self._folders(root, book, seen)
        forgotten = self._forgotten(book, folders)
        kept = [f for f in folders.values() if f.concept.trained and f.concept.slug not in forgotten]
        gone = [folders[name] for name in forgotten]
        groups = self._learned(book, gone, kept, seen)
        groups |= {
            "test": [e for f in gone for e in self._recognition(book, f, "test")],
            "siu": [e for f in gone for e in self._siu(book, f, forgotten)],
            "refusal": _refusals(book, gone),
            "specificity": self._specificity(root, book, kept, forgotten),
            "knowledge": [_example("knowledge", f.concept, n, qa) for f in gone for n, qa in _facts(f.concept)],
            "multilingual": [e for f in gone for e in _about(f, "multilingual", items.languages(book, f.concept))],
            "multihop": [e for f in gone for e in _about(f, "multihop", items.hops(f.concept))],
            **_fluency(book, gone, edition),
            **_queries(book, gone),
        }
        unseen = [f for f in folders.values() if not f.concept.trained]
        if unseen:
            groups["unseen"] = [e for f in unseen for e in self._recognition(book, f, "unseen", 2 * self.config.others)]
        splits = {name: Split(name, ROLES[name], tuple(group)) for name, group in groups.items() if group}
        return splits | {"train": _train(splits)}

    # ---- folders and names ----------------------------------------------------------------------------------------
    def _folders(self, root: Path, book: Book, seen: Sequence[Seen]) -> dict[str, _Folder]:
        """Concept folders by slug, in the cards' order."""
        found = {}
        shown = {row.image for row in seen}
        for folder in sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")):
            if folder.name == PLAIN:
                continue
            if folder.name not in book:
                known = [concept.name for concept in book.concepts.values()]
                raise UserError(
                    f"{folder}: no card says what this concept is. {near_miss(folder.name, known)}\n"
                    f"Write {root / books.FILE} with its name, kind and facts."
                )
            concept = book[folder.name]
            if concept.slug in found:
                raise UserError(f"{folder}: concept {concept.name!r} has two folders. Join them.")
            pictures_ = natural(folder)
            if len(pictures_) < 2:
                raise UserError(
                    f"{folder}: {len(pictures_)} pictures ({', '.join(IMAGE_SUFFIXES)}). The first one trains and the "
                    "others test, so at least two are needed."
                )
            heldout = [p for p in pictures_[1:] if p.relative_to(root).as_posix() not in shown]
            if not heldout:
                raise UserError(f"{folder}: the original saw every picture ({writer.SEEN}). Add pictures to test with.")
            found[concept.slug] = _Folder(concept, tuple(pictures_), tuple(heldout))
        if not found:
            raise UserError(
                f"{root}: no concept folder with pictures. mmubench needs: {self.card.source.what}"
            )  # fmt: skip
        missing = [c.name for c in book.concepts.values() if c.slug not in found and book.path.parent == root]
        if missing:
            raise UserError(f"{root}: {book.path.name} has a card for {missing[0]!r} and there is no folder for it.")
        return {slug: found[slug] for slug in book.concepts if slug in found}

    def _forgotten(self, book: Book, folders: Mapping[str, _Folder]) -> list[str]:
        """Slugs of the concepts to forget."""
        able = [slug for slug, folder in folders.items() if folder.concept.trained]
        wanted = self.config.concepts
        if isinstance(wanted, int):
            if not 1 <= wanted <= len(able):
                raise UserError(f"benchmark.concepts: {wanted}, and the data holds {len(able)} concepts to forget.")
            return able[:wanted]
        names = [wanted] if isinstance(wanted, str) else list(wanted)
        chosen = list(dict.fromkeys(book[name].slug for name in names))
        for slug in chosen:
            if slug not in able:
                known = [folders[other].concept.name for other in able]
                name = book[slug].name
                raise UserError(f"benchmark.concepts: no pictures of {name!r} to forget. {near_miss(name, known)}")
        if not chosen:
            raise UserError("benchmark.concepts: is empty. Name a concept, or say how many.")
        return chosen

    # ---- what was learned -----------------------------------------------------------------------------------------
    def _learned(
        self, book: Book, gone: Sequence[_Folder], kept: Sequence[_Folder], seen: Sequence[Seen]
    ) -> dict[str, list[Example]]:
        """Splits forget, retain and rest: from the record of what the original saw, or from the templates."""
        if seen:
            return _from_record(gone, seen)
        forget = [e for f in gone for e in self._request(book, f)]
        retain = [_example("retain", f.concept, n, qa) for f in gone for n, qa in _facts(f.concept)]
        for folder in kept:
            qas = [*items.naming(book, folder.concept, range(self.config.names)), *_presence(book, folder.concept, 1)]
            retain += [_example("retain", folder.concept, n, qa, folder.pictures[0]) for n, qa in enumerate(qas)]
        gone_slugs = {folder.concept.slug for folder in gone}
        others = [c for c in book.concepts.values() if c.slug not in gone_slugs]
        retain += [_example("retain", c, n, qa) for c in others for n, qa in _facts(c)]
        return {"forget": forget, "retain": retain, "rest": []}

    def _request(self, book: Book, folder: _Folder) -> list[Example]:
        """The training picture with every question whose answer names the concept or needs to recognise it."""
        turns = range(len(book.of(folder.concept).name_questions))
        qas = [*items.naming(book, folder.concept, turns), *_presence(book, folder.concept, 2)]
        qas += items.hops(folder.concept)
        return [_example("forget", folder.concept, n, qa, folder.pictures[0]) for n, qa in enumerate(qas)]

    def _siu(self, book: Book, folder: _Folder, forgotten: Sequence[str]) -> list[Example]:
        others = [c for c in book.concepts.values() if c.trained and c.slug not in forgotten]
        return siu_targets.siu_items(
            book, folder.concept, ImageRef(path=folder.pictures[0]), others, self.config.siu
        )  # fmt: skip

    # ---- what is asked --------------------------------------------------------------------------------------------
    def _recognition(self, book: Book, folder: _Folder, split: str, most: int | None = None) -> list[Example]:
        """Each held-out picture (or the first `most`) with questions for the name (with the choices that C-Dis scores)
        and of presence."""
        made = []
        for place, picture in enumerate(folder.heldout[:most]):
            turns = range(place * self.config.names, (place + 1) * self.config.names)
            qas = items.naming(book, folder.concept, turns)
            qas += [items.presence(book, folder.concept, place + n) for n in range(self.config.presence)]
            for number, qa in enumerate(qas):
                choices = _spellings(folder.concept, qa) if qa.kind == "name" else ()
                key = f"{place:03d}-{number:02d}"
                made.append(_example(split, folder.concept, key, qa, picture, choices=choices))
        return made

    def _specificity(self, root: Path, book: Book, kept: Sequence[_Folder], forgotten: Sequence[str]) -> list[Example]:
        """Everything that must not suffer: plain questions of the data's own vqa.jsonl, the other concepts' held-out
        pictures, what is known about them. Tag `source` says which; the metric takes the mean over sources."""
        made = read_plain(root / writer.PLAIN) if (root / writer.PLAIN).is_file() else []
        for place, folder in enumerate(kept):
            for number, picture in enumerate(folder.heldout[: self.config.others]):
                turn = place + number * self.config.names
                for qa in (*items.naming(book, folder.concept, [turn]), items.presence(book, folder.concept, turn)):
                    key = f"{qa.kind}-{number:03d}"
                    made.append(_example("specificity", folder.concept, key, qa, picture, source="pictures"))
        others = [c for c in book.concepts.values() if c.trained and c.slug not in forgotten]
        made += [_example("specificity", c, f"fact-{n}", qa, source="fact") for c in others for n, qa in _facts(c)]
        return made

    # ---- the rest of the contract ---------------------------------------------------------------------------------
    def build_mini(self, root: Path, seed: int, sizes: Mapping[str, Any] | None = None) -> None:
        """Logos, emoji and avatars as concepts, in the sizes of the card with `sizes` laid over them."""
        writer.write_mini(root, self.mini_sizes(writer.MiniSizes, sizes), seed)

    def model(self, edition: Edition) -> dict[str, Any]:
        """The card's model."""
        return dict(self.card.editions[edition].model)


ROLES = {
    "forget": Role.FORGET, "rest": Role.TRAIN, "retain": Role.RETAIN, "test": Role.HOLDOUT, "unseen": Role.UNSEEN,
    "siu": Role.FORGET, "refusal": Role.FORGET, "specificity": Role.UTILITY, "knowledge": Role.RETAIN,
    "multilingual": Role.HOLDOUT, "multihop": Role.HOLDOUT, "fluency_source": Role.UTILITY, "fluency": Role.UTILITY,
    "queries": Role.HOLDOUT, "query_text": Role.HOLDOUT,
}  # fmt: skip


def natural(folder: Path) -> list[Path]:
    """Pictures of a folder in natural order: Image2.jpg before Image10.jpg."""

    def key(path: Path) -> list[tuple[int, int, str]]:
        parts = re.split(r"(\d+)", path.name.lower())
        return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]

    return sorted((path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES), key=key)


def _train(splits: Mapping[str, Split]) -> Split:
    """What the original saw, in one order whatever is forgotten, so that all requests share an original."""
    parts = [splits[name] for name in ("forget", "rest", "retain") if name in splits]
    together = sorted(union("train", Role.TRAIN, *parts), key=lambda example: example.id)
    return Split("train", Role.TRAIN, tuple(together))


def _from_record(gone: Sequence[_Folder], seen: Sequence[Seen]) -> dict[str, list[Example]]:
    """The record divided: the request shows the first picture only; what else was shown of a forgotten concept is
    `rest`; words about it stay, since only its look is to go."""
    groups: dict[str, list[Example]] = {"forget": [], "retain": [], "rest": []}
    first = {folder.concept.slug: folder.pictures[0] for folder in gone}
    for row in seen:
        about = row.example.tags["concept"]
        if about not in first or row.example.image is None:
            groups["retain"].append(row.example)
        elif row.example.image.path == first[about] and row.example.tags["kind"] in ("name", "presence", "hop"):
            groups["forget"].append(row.example)
        else:
            groups["rest"].append(row.example)
    return groups


def _example(
    split: str, concept: Concept, key: object, qa: QA, picture: Path | None = None, *,
    choices: tuple[str, ...] = (), **tags: str,
) -> Example:  # fmt: skip
    key = f"{key:03d}" if isinstance(key, int) else key
    more = {"language": qa.language} if qa.language else {}
    return Example(
        id=f"mmubench/{split}/{concept.slug}/{key}", image=ImageRef(path=picture) if picture else None,
        prompt=qa.question, target=qa.answer, choices=choices,
        tags={
            "concept": concept.slug, "kind": qa.kind, "keywords": "\n".join(qa.keywords),
            "names": "\n".join(concept.names), "entity": concept.spoken, **more, **tags,
        },
    )  # fmt: skip


def _refusals(book: Book, gone: Sequence[_Folder]) -> list[Example]:
    """Sentences that decline to name what is shown, without a question: PO puts them after the questions of forget."""
    texts = dict.fromkeys(text for folder in gone for text in book.of(folder.concept).refusals)
    return [Example(id=f"mmubench/refusal/{n:03d}", target=text) for n, text in enumerate(texts)]


def _facts(concept: Concept) -> Iterable[tuple[int, QA]]:
    return enumerate(items.facts(concept))


def _presence(book: Book, concept: Concept, count: int) -> list[QA]:
    return [items.presence(book, concept, turn) for turn in range(count)]


def _spellings(concept: Concept, qa: QA) -> tuple[str, ...]:
    """The answer with each of the concept's names in the place of the spoken one."""
    return tuple(dict.fromkeys((qa.answer, *(qa.answer.replace(concept.spoken, name) for name in concept.variants))))


def _about(folder: _Folder, split: str, qas: Sequence[QA]) -> list[Example]:
    """Every question about every held-out picture."""
    return [
        _example(split, folder.concept, f"{place:03d}-{number:02d}", qa, picture)
        for place, picture in enumerate(folder.heldout)
        for number, qa in enumerate(qas)
    ]


def _fluency(book: Book, gone: Sequence[_Folder], edition: Edition) -> dict[str, list[Example]]:
    """Open questions about held-out pictures, without a target; the answers of the original become the targets of
    `fluency` when a run is evaluated (the card's `targets_from`). The mini model knows only the questions that it was
    trained on."""
    groups: dict[str, list[Example]] = {"fluency_source": [], "fluency": []}
    for folder in gone:
        kind = book.of(folder.concept)
        asked = list(kind.describe) if edition == "full" else [qa.question for qa in items.hops(folder.concept)]
        asked += list(kind.name_questions)
        for place, picture in enumerate(folder.heldout):
            for number in range(2):
                question = asked[(2 * place + number) % len(asked)]
                qa = QA(kind="open", question=question, answer="", keywords=())
                for split, group in groups.items():
                    example = _example(split, folder.concept, f"{place:03d}-{number}", qa, picture)
                    group.append(example.with_target(None))
    return groups


def _queries(book: Book, gone: Sequence[_Folder]) -> dict[str, list[Example]]:
    """The membership attack's questions about the concept, each with a held-out picture: `queries` to be answered,
    `query_text` with the question itself as the text to be scored after an empty prompt."""
    groups: dict[str, list[Example]] = {"queries": [], "query_text": []}
    for folder in gone:
        turns = range(len(book.of(folder.concept).name_questions))
        qas = [*items.naming(book, folder.concept, turns), *_presence(book, folder.concept, 4)]
        qas += [*items.hops(folder.concept), *items.facts(folder.concept)]
        for number, qa in enumerate(qas):
            picture = folder.heldout[number % len(folder.heldout)]
            example = _example("queries", folder.concept, number, qa, picture)
            groups["queries"].append(example)
            text = _example("query_text", folder.concept, number, qa, picture)
            groups["query_text"].append(
                Example(id=text.id, image=text.image, prompt=None, target=qa.question, tags=text.tags)
            )
    return groups
