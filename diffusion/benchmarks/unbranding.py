"""UNBRANDING: a brand, its logo and its trade dress, that a text-to-image model shall no longer draw (2512.13953)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

# The builder's parts are imported as modules so that the mini edition's cache key covers their source.
from mmunlearn.avatars import jpeg  # noqa: F401
from mmunlearn.benchmark import Benchmark
from mmunlearn.cards import Edition, EvaluationPlan
from mmunlearn.data import Example, ImageRef, Role, Split
from mmunlearn.errors import UserError
from mmunlearn.settings import Settings
from mmunlearn.tables import read_csv

from ..brands import book, pictures, prompts, writer  # noqa: F401
from ..brands.names import NO_BRAND, PUBLISHED, Brands, brands_of
from ._tiny import TINY

CONTROL_SEEDS = (188, 288)
COLUMNS = {"filename": (), "label": (), "thing": ("object",), "scene": (), "mark": (), "number": (), "prompt": ()}


class Asked(Settings):
    """brands: "all", one of them or several."""

    brands: str | tuple[str, ...] = Field("all", min_length=1)


@dataclass(frozen=True)
class Item:
    """A caption with its labels; image: where the data have labelled pictures. number: 0 trained on, 1 test, 2
    unseen."""

    key: str
    label: str
    thing: str
    prompt: str
    number: int = 0
    image: ImageRef | None = None


class Unbranding(Benchmark):
    """Splits: forget (the brand's captions), retain (all others), train (both), test, unseen; concept (every caption
    that names the brand; target: the same with the surrogate in its place; tags phrase and surrogate), anchor (the
    other captions) and answers (the prompts of the CSV, controls without a brand among them, the same for every
    request). The mini edition has pictures for the first five; the published data are prompts alone, so in the full
    edition these splits are captions of our own templates, which is what edits and guards need.

    Tags of answers: brand (NO_BRAND for controls), asked (the brand that yes-or-no questions ask for; for controls
    the brands in turn), style and object (so that judges and metrics of styles can be used), seed, file, source.
    """

    class Config(Settings):
        """request: the brands to forget; none for all, and then nothing is measured. labels: what the judge may answer,
        the mini edition's invented brands or the published ones. surrogate: what stands in a brand's place. judge: the
        backend of the judges that are models ({kind: chat | server | trained, …}), over the card's. variant: which of
        the five questions decides B. gate: gate_model, gate_weights and gate_least of the judge brand_structure.
        control_seeds: of our controls, where the CSV has none."""

        name: str = "unbranding"
        request: Asked | None = None
        labels: Literal["drawn", "published"] = "drawn"
        surrogate: str = Field(prompts.PLAIN, min_length=1)
        judge: dict[str, Any] = Field(default_factory=dict)
        variant: int = Field(1, ge=1, le=5)
        gate: dict[str, Any] = Field(default_factory=dict)
        control_seeds: tuple[int, ...] = Field(CONTROL_SEEDS, min_length=1)

        @field_validator("control_seeds")
        @classmethod
        def _distinct(cls, value: tuple[int, ...]) -> tuple[int, ...]:
            if len(set(value)) != len(value) or min(value) < 0:
                raise ValueError("repeats a seed or holds a negative one")
            return value

    variants = {"all": {}, "one": {"request": {"brands": "Veltro"}}}
    tiny = {"brands": 3, "things": 2, "scenes": 1, "pictures": 3, "controls": 1, "size_px": 32}
    tiny_settings = {"judge": {"kind": "rule", "rule": {"name": "style_object", "benchmark": "unbranding",
                                                        "root": "$root", "steps": 10}}}  # fmt: skip
    tiny_decoding = {"steps": 2}
    tiny_model = {"architecture": TINY}

    def splits(self, root: Path, edition: Edition) -> Mapping[str, Split]:
        """Splits for the request. Raises UserError naming file, line and column of what is wrong."""
        file = prompts.find_csv(root, self.card.source.what)
        brands = brands_of(root)
        asked = self._asked(file, brands)
        labelled = _labelled(root, brands) if (root / writer.LABELS).is_file() else _ours(brands)
        request = self.config.request
        gone = brands.chosen(request.brands if request else "all", "benchmark.request.brands")
        trained = [item for item in labelled if item.number == 0]
        forget = [item for item in trained if item.label in gone]
        retain = [item for item in trained if item.label not in gone]
        captions = {item.prompt: item for item in labelled}
        groups: dict[str, tuple[Role, Sequence[Example]]] = {
            "forget": (Role.FORGET, self._examples(forget)),
            "retain": (Role.RETAIN, self._examples(retain)),
            "train": (Role.TRAIN, self._examples(trained)),
            "test": (Role.HOLDOUT, self._examples(item for item in labelled if item.number == 1)),
            "unseen": (Role.UNSEEN, self._examples(item for item in labelled if item.number == 2)),
            "concept": (Role.FORGET, [self._named(i, brands) for i in captions.values() if i.label in gone]),
            "anchor": (Role.RETAIN, [self._other(i) for i in captions.values() if i.label not in gone]),
            "answers": (Role.UTILITY, self._answers(asked, brands)),
        }
        return {name: Split(name, role, tuple(examples)) for name, (role, examples) in groups.items()}

    def _asked(self, file: Path, brands: Brands) -> list[prompts.Asked]:
        found = prompts.read_prompts(file, brands)
        if not any(one.brand == NO_BRAND for one in found):
            found += prompts.controls(self.config.control_seeds)
        return found

    def plans(self, table: str) -> tuple[EvaluationPlan, ...]:
        """The card's, with labels, backend, question variant and gate of the settings; none without a request."""
        if self.config.request is None:
            return ()
        return tuple(self._with_settings(plan) for plan in super().plans(table))

    def _with_settings(self, plan: EvaluationPlan) -> EvaluationPlan:
        own, settings = self.config, plan.judge_settings
        if "backend" not in settings:
            return plan
        more: dict[str, Any] = {}
        if own.judge:
            more["backend"] = own.judge
        if plan.prefix == "brand":
            known = tuple(book.BRANDS) if own.labels == "drawn" else tuple(PUBLISHED)
            more |= {"template": f"unbranding_label_{own.variant}", "classes": (*known, NO_BRAND)}
        if plan.judge_name == "brand_structure":
            more |= own.gate
        return plan.model_copy(update={"judge": {"name": plan.judge_name, **settings, **more}})

    # ---- examples -------------------------------------------------------------------------------------------------
    def _examples(self, items: Iterable[Item]) -> list[Example]:
        return [
            Example(id=f"unbranding/{one.key}", image=one.image, prompt=one.prompt, tags=_tags(one.label, one.thing))
            for one in items
        ]

    def _named(self, item: Item, brands: Brands) -> Example:
        words, other = brands.words(item.label), self.config.surrogate
        return Example(
            id=f"unbranding/concept/{item.prompt}", prompt=item.prompt,
            target=prompts.without(item.prompt, words, other),
            tags=_tags(item.label, item.thing) | {
                "kind": "style", "concept": item.label, "phrase": words, "surrogate": other,
            },
        )  # fmt: skip

    def _other(self, item: Item) -> Example:
        tags = _tags(item.label, item.thing) | {"style_words": item.label}
        return Example(id=f"unbranding/anchor/{item.prompt}", prompt=item.prompt, tags=tags)

    def _answers(self, asked: Sequence[prompts.Asked], brands: Brands) -> list[Example]:
        names = brands.labels[:-1]
        turn = {one.name: place for place, one in enumerate(o for o in asked if o.brand == NO_BRAND)}
        return [
            Example(
                id=f"unbranding/answers/{one.name}", prompt=one.prompt,
                tags={
                    "brand": one.brand, "style": one.brand, "seed": str(one.seed), "file": f"{one.name}.jpg",
                    "asked": one.brand if one.brand != NO_BRAND else names[turn[one.name] % len(names)],
                    "source": one.source,
                },
            )
            for one in asked
        ]  # fmt: skip

    # ---- the rest of the contract ---------------------------------------------------------------------------------
    def build_mini(self, root: Path, seed: int, sizes: Mapping[str, Any] | None = None) -> None:
        """Invented brands on drawn things, in the sizes of the card with `sizes` laid over them."""
        writer.write_mini(root, self.mini_sizes(writer.MiniSizes, sizes), seed)

    def model(self, edition: Edition) -> dict[str, Any]:
        """The card's model; the task decides nothing about it."""
        return dict(self.card.editions[edition].model)


def _tags(label: str, thing: str) -> dict[str, str]:
    return {"brand": label, "style": label, "object": thing}


def _labelled(root: Path, brands: Brands) -> list[Item]:
    """Rows of labels.csv. Raises UserError for a label outside the list, a missing picture or another number."""
    found = []
    for record in read_csv(root / writer.LABELS, COLUMNS, optional=("scene", "mark")):
        if record["label"] not in brands.labels:
            raise record.fault(f"label {record['label']!r} is none of {', '.join(brands.labels)}.")
        path = root / record["filename"]
        if not path.is_file() or root.resolve() not in path.resolve().parents:
            raise record.fault(f"filename {record['filename']!r} is no picture under {root}.")
        if record["number"] not in ("0", "1", "2"):
            raise record.fault(f"number is {record['number']!r}, must be 0 (trained on), 1 (test) or 2 (unseen).")
        key = str(Path(record["filename"]).with_suffix(""))
        number = int(record["number"])
        found.append(Item(key, record["label"], record["thing"], record["prompt"], number, ImageRef(path=path)))
    for number, what in enumerate(("trained on", "test", "unseen")):
        if not any(item.number == number for item in found):
            raise UserError(f"{root / writer.LABELS}: no picture is {what} (number {number}).")
    return found


def _ours(brands: Brands) -> list[Item]:
    """Captions of our templates, without pictures: the last of each brand is unseen, the one before tests."""
    found: list[Item] = []
    for label in brands.labels:
        rows = [(thing, prompt) for own, thing, prompt in prompts.ours(brands) if own == label]
        for place, (thing, prompt) in enumerate(rows):
            number = max(0, place - len(rows) + 3)
            found.append(Item(f"ours/{label}/{place:02d}", label, thing, prompt, number))
    return found
