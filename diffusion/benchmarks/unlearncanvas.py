"""UnlearnCanvas: a painting style or an object that a text-to-image model shall no longer draw (Zhang et al. 2024)."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field

# The builder's parts are imported as modules so that the mini edition's cache key covers their source.
from mmunlearn import rasterise  # noqa: F401
from mmunlearn.avatars import jpeg  # noqa: F401
from mmunlearn.benchmark import Benchmark, check_counts
from mmunlearn.card_tables import ROOT
from mmunlearn.cards import Edition, EvaluationPlan
from mmunlearn.data import Example, Role, Split
from mmunlearn.errors import UserError
from mmunlearn.settings import Settings

from ..canvas.answers import answer_set
from ..canvas.files import ALLOW, Canvas, Picture, read_canvas
from ..canvas.names import PHOTOS, SEEDS, Names, names_of
from ..canvas.prompts import PHOTO, prompt, style_words
from ..canvas.requests import Concept, Kind, Request, Surrogate, any_holds, concepts
from ..emoji import book, pictures, writer  # noqa: F401
from ._tiny import TINY

Wording = Literal["benchmark", "trained", "diffusers", "readme", "underscores"]
MINI_SEEDS = SEEDS[:2]
CHANGES_COUNTS = ("gone", "seeds", "few", "photos", "further", "subset", "check_counts")


class Subset(Settings):
    """Styles and objects to take: the first so many of the lists, or those named (Seed_Images stays); None: all."""

    styles: Annotated[int, Field(ge=1)] | Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    objects: Annotated[int, Field(ge=2)] | Annotated[tuple[str, ...], Field(min_length=2)] | None = None


class Unlearncanvas(Benchmark):
    """Splits with pictures and captions: forget (of the concept), retain (all others), train (both), test and unseen
    (the last but one and the last picture of every style and object, never trained on), few (the concept's first
    pictures, without Seed_Images; not of the parquet form) and photos (Seed_Images among retain). Without pictures:
    concept (every prompt that names it; target: the prompt with the surrogate in its place; tags phrase and surrogate),
    anchor (the other prompts, to be preserved) and answers (the answer set, the same for every request).

    Differs from the repository: its CompVis data class drops Seed_Images from training, and with it the word Photo;
    here they are trained on, as in its diffusers path (`photos=false` leaves them out). It divides pictures into
    0.9/0.05/0.05, which is 18, 1 and 1 of 20. An object's surrogate is the next object of the list, which is ours; a
    style's is Photo.
    """

    class Config(Settings):
        """request: what is forgotten; none for the first style. gone: earlier requests of a sequence, which the model
        has forgotten already; their pictures and prompts are in no split of the request. prompts: wording of the
        answer set; none for the published one in the full edition, and in the mini edition for the captions' (its
        model has never read "Seed Images"). captions: wording of all else. seeds: of the answer set; none for the five
        published ones, in the mini edition two. few: pictures of a style and object in split `few`. further: with the
        ten styles beside the tested fifty. heads: settings of the judge style_object (style_weights and object_weights:
        the published classifiers); none for heads trained on the data. inception: by flavour of FID the local file of
        its network, which adds quality/fid_<flavour>."""

        name: str = "unlearncanvas"
        request: Request | None = None
        gone: tuple[Request, ...] = ()
        surrogate_style: str = Field(PHOTO, min_length=1)
        surrogate_object: str | None = Field(None, min_length=1)
        prompts: Wording | None = None
        captions: Wording = "trained"
        seeds: tuple[int, ...] | None = Field(None, min_length=1)
        few: int = Field(3, ge=1)
        photos: bool = True
        further: bool = False
        heads: dict[str, Any] = Field(default_factory=dict)
        inception: dict[Literal["unlearncanvas", "standard"], str] = Field(default_factory=dict)
        subset: Subset = Subset()
        check_counts: bool = True

    # The kinds of request do not change the data, but the splits' sizes.
    variants = {
        "style": {}, "object": {"request": {"kind": "object", "name": "Dogs"}},
        "pair": {"request": {"kind": "pair", "name": "Twemoji/Dogs"}},
        "sequence": {"request": {"kind": "sequence", "name": ["Twemoji", "Dogs"]}},
    }  # fmt: skip
    tiny = {"styles": 3, "objects": 6, "pictures": 4, "size_px": 32}
    tiny_settings = {"seeds": [188], "heads": {"steps": 10}}
    tiny_decoding = {"steps": 2}
    tiny_model = {"architecture": TINY}

    def splits(self, root: Path, edition: Edition) -> Mapping[str, Split]:
        """Splits for the request; ids are "unlearncanvas/<theme>/<object>/<number>" for pictures."""
        canvas = self.canvas(root, edition)
        wanted, gone = self.requested(canvas.names)
        parts = _divided(canvas, photos=self.config.photos)
        held = {name: [p for p in part if not any_holds(gone, p.style, p.object)] for name, part in parts.items()}
        shown = dict(zip(held["train"], self._shown(held["train"]), strict=True))  # shared by the splits
        forget = [p for p in shown if any_holds(wanted, p.style, p.object)]
        retain = [p for p in shown if not any_holds(wanted, p.style, p.object)]
        if not forget or not retain:
            what = " and ".join(concept.title for concept in wanted)
            raise UserError(f"{root}: forgetting {what} leaves no pictures to {'keep' if forget else 'forget'}.")
        first = sorted({p.number for p in forget})[: self.config.few]
        grid = [(t, o) for t in canvas.names.themes for o in canvas.names.objects if not any_holds(gone, t, o)]
        seeds = self._seeds(edition)
        form = self.config.prompts or ("benchmark" if edition == "full" else "trained")
        groups: dict[str, tuple[Role, Sequence[Example]]] = {
            "forget": (Role.FORGET, [shown[p] for p in forget]),
            "retain": (Role.RETAIN, [shown[p] for p in retain]),
            "train": (Role.TRAIN, list(shown.values())),
            "test": (Role.HOLDOUT, self._shown(held["test"])),
            "unseen": (Role.UNSEEN, self._shown(held["unseen"])),
            "few": (Role.FORGET, [shown[p] for p in forget if p.number in first and p.style != PHOTOS]),
            "photos": (Role.RETAIN, [shown[p] for p in retain if p.style == PHOTOS]),
            "concept": (Role.FORGET, [e for concept in wanted for e in self._named(concept, grid)]),
            "anchor": (Role.RETAIN, [self._said(*cell) for cell in grid if not any_holds(wanted, *cell)]),
            "answers": (Role.UTILITY, answer_set(canvas.names, seeds, form)),
        }
        found = {name: Split(name, role, tuple(examples)) for name, (role, examples) in groups.items()}
        if not self.config.photos:
            del found["photos"]
        if not canvas.indexed:
            del found["few"]  # which pictures are the first is what the parquet files do not say
        self._compare(root, edition, found)
        return found

    def canvas(self, root: Path, edition: Edition) -> Canvas:
        """All pictures of the data, for what needs them beside the splits: heads, FID, style transfer."""
        names = self.names(root)
        strict = edition == "full" and self.config.check_counts
        return read_canvas(root, names, strict=strict, what=self.card.source.what)

    def names(self, root: Path) -> Names:
        """Themes and objects in the order of their labels."""
        chosen = self.config.subset
        return names_of(root, further=self.config.further).cut(chosen.styles, chosen.objects)

    def requested(self, names: Names) -> tuple[tuple[Concept, ...], tuple[Concept, ...]]:
        """The concepts to forget, and those that earlier requests of the sequence have named."""
        other = Surrogate(self.config.surrogate_style, self.config.surrogate_object)
        wanted = concepts(self.config.request, names, other, "benchmark.request")
        gone = [c for earlier in self.config.gone for c in concepts(earlier, names, other, "benchmark.gone")]
        for concept in wanted:
            if concept in gone:
                raise UserError(f"benchmark.gone: {concept.title} is gone already and requested again.")
        return wanted, tuple(gone)

    def _seeds(self, edition: Edition) -> tuple[int, ...]:
        seeds = self.config.seeds or (SEEDS if edition == "full" else MINI_SEEDS)
        if len(set(seeds)) != len(seeds) or min(seeds) < 0:
            raise UserError(f"benchmark.seeds: {list(seeds)} repeats a seed or holds a negative one.")
        return tuple(seeds)

    def _compare(self, root: Path, edition: Edition, found: Mapping[str, Split]) -> None:
        """Counts of the card, where no setting changes them."""
        usual = type(self).Config()
        if edition == "full" and all(getattr(self.config, name) == getattr(usual, name) for name in CHANGES_COUNTS):
            sizes = {name: len(split) for name, split in found.items()}
            kind = self.config.request.kind if self.config.request else "style"
            check_counts(self.card, sizes, kind, dict.fromkeys(sizes, root), ALLOW)

    def plans(self, table: str) -> tuple[EvaluationPlan, ...]:
        """The card's evaluations that fit the kind of the request, which is the name of the evaluation (style, object,
        pair, sequence; sequential and quality for any), with the heads of the settings; none of these for a model that
        nothing was asked of. Then FID by the inception networks of the settings."""
        kind = self.config.request.kind if self.config.request else None
        others = set(get_args(Kind)) - {kind} | (set() if kind else {"sequential", "quality"})
        plans = [self._with_settings(plan) for plan in super().plans(table) if plan.name not in others]
        metrics = tuple(
            {"name": f"fid_{flavour}", "root": ROOT, "weights": file, **self._cut()}
            for flavour, file in self.config.inception.items()
        )
        if kind and metrics:
            plans.append(EvaluationPlan(name="inception", section="quality", split="answers", metrics=metrics))
        return tuple(plans)

    def _cut(self) -> dict[str, Any]:
        """The subset as a setting of distances; nothing where all is taken."""
        chosen = {key: value for key, value in self.config.subset.model_dump().items() if value is not None}
        return {"subset": chosen} if chosen else {}

    def _with_settings(self, plan: EvaluationPlan) -> EvaluationPlan:
        """The plan with the settings' heads for its judge and for distances in their features, and with the subset."""
        heads = self.config.heads
        own = ({"heads": heads} if heads else {}) | self._cut()
        metrics = tuple(
            metric | own if isinstance(metric, dict) and metric["name"] in ("fid_mini", "kid_mini") else metric
            for metric in plan.metrics
        )
        if plan.judge_name != "style_object" or not heads:
            return plan.model_copy(update={"metrics": metrics})
        judge = {"name": plan.judge_name, **plan.judge_settings, **heads}
        return plan.model_copy(update={"judge": judge, "metrics": metrics})

    # ---- examples -------------------------------------------------------------------------------------------------
    def _shown(self, chosen: Iterable[Picture]) -> list[Example]:
        """Pictures with their captions."""
        return [
            Example(
                id=f"unlearncanvas/{p.style}/{p.object}/{p.number:02d}", image=p.image,
                prompt=prompt(p.style, p.object, self.config.captions),
                tags={"style": p.style, "object": p.object, "number": str(p.number)},
            )
            for p in chosen
        ]  # fmt: skip

    def _said(self, style: str, thing: str) -> Example:
        """A prompt that is to be drawn as before."""
        return Example(
            id=f"unlearncanvas/anchor/{style}/{thing}", prompt=prompt(style, thing, self.config.captions),
            tags={"style": style, "object": thing, "style_words": style_words(style)},
        )  # fmt: skip

    def _named(self, concept: Concept, grid: Iterable[tuple[str, str]]) -> list[Example]:
        """Every prompt that names the concept."""
        return [
            Example(
                id=f"unlearncanvas/concept/{concept.title}/{style}/{thing}",
                prompt=prompt(style, thing, self.config.captions),
                target=concept.replaced(style, thing, self.config.captions),
                tags={
                    "style": style, "object": thing, "kind": concept.kind, "concept": concept.title,
                    "phrase": concept.phrase, "surrogate": concept.surrogate,
                },
            )
            for style, thing in grid
            if concept.holds(style, thing)
        ]  # fmt: skip

    # ---- the rest of the contract ---------------------------------------------------------------------------------
    def build_mini(self, root: Path, seed: int, sizes: Mapping[str, Any] | None = None) -> None:
        """Emoji of several artists in the folder form, in the sizes of the card with `sizes` laid over them."""
        writer.write_mini(root, self.mini_sizes(writer.MiniSizes, sizes), seed)

    def model(self, edition: Edition) -> dict[str, Any]:
        """The card's model; the task decides nothing about it."""
        return dict(self.card.editions[edition].model)


def _divided(canvas: Canvas, *, photos: bool) -> dict[str, list[Picture]]:
    """train, test and unseen: of every style and object all but the last two pictures, the last but one, the last.
    photos: whether Seed_Images are trained on."""
    cells: dict[tuple[str, str], list[Picture]] = {}
    for picture in canvas.pictures:
        cells.setdefault((picture.style, picture.object), []).append(picture)
    parts: dict[str, list[Picture]] = {"train": [], "test": [], "unseen": []}
    for (style, thing), cell in cells.items():
        if len(cell) < 3:
            raise UserError(
                f"{canvas.root / style / thing}: {len(cell)} pictures; at least 3 are needed, one to train on, one to "
                "test with and one that stays unseen."
            )
        parts["train"] += cell[:-2] if photos or style != PHOTOS else []
        parts["test"].append(cell[-2])
        parts["unseen"].append(cell[-1])
    return parts
