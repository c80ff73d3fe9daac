"""Style and object of a generated picture, by two classifiers in one pass."""

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from mmunlearn.data import ImageRef
from mmunlearn.errors import UserError
from mmunlearn.judges.base import UNSCORED, Item, Judge, Sample, Verdict
from mmunlearn.mini_folder import TRUTH

from .. import features, heads
from ..heads import Heads, HeadsSettings
from ..picture_files import shared_table

DIGITS = 4  # of probabilities in the explanation: what batch sizes do not change


class StyleObject(Judge):
    """Label "<style>/<object>" as the two heads read the picture; value 1 where every tag that the example has (style,
    object) is read, else 0. Explanation: JSON with both labels, their probabilities and those of the tags.

    Each picture is decoded once and both heads see the same batch. A response without a readable picture, or an example
    with neither tag, is unscored. Source: UnlearnCanvas, evaluation/quantitative/accuracy.py (diffusion 1.3), which
    passes every picture twice, one by one; the published classifiers are valid only for pictures of the fine-tuned
    SD 1.5.
    """

    class Config(HeadsSettings):
        """Settings of HeadsSettings: which heads."""

    needs_target = True
    reads = "pictures"
    label_tags = ("style", "object")
    check_settings = {"steps": 120}
    samples = tuple(
        Sample(f"{style}/{thing}", f"{style}/{thing}", tags={"style": style, "object": thing})
        for style, thing in (("Dots", "Disc"), ("Stripes", "Square"), ("Seed_Images", "Cross"))
    )

    @cached_property
    def offered(self) -> tuple[str, ...]:  # type: ignore[override]
        """Every style with every object."""
        both = self.heads
        return tuple(f"{style}/{thing}" for style in both.styles for thing in both.objects)

    @cached_property
    def heads(self) -> Heads:
        """Both classifiers, opened or trained when first asked for."""
        return heads.open_heads(self._which)

    @cached_property
    def identity(self) -> str:
        """Hash of the heads, known without training them."""
        return heads.identity(self._which)

    @property
    def _which(self) -> HeadsSettings:
        """The settings that choose the heads; a subclass has others beside them."""
        return HeadsSettings(**self.config.model_dump(include=set(HeadsSettings.model_fields)))

    def ready(self) -> None:
        """Raise UserError for heads whose files are missing, and where a small network would silently take the place
        of the published classifiers on full data; trains nothing. A folder that is not there is the data's reader's to
        say."""
        config = self.config
        if config.style_weights or config.object_weights or config.folder:
            heads.identity(self._which)
            return
        root = Path(config.root)
        if config.root and root.is_dir() and not config.network and not (root / TRUTH).is_file():
            raise UserError(
                f"judge {self.name()}: {config.root} is no mini edition, so the classifiers come from files.\n"
                "Give style_weights and object_weights (the published ones), or folder (what "
                "python -m mmunlearn.diffusion.heads wrote); network: mini trains a small one all the same."
            )

    def key(self, item: Item) -> str:
        """Cache key: judge, version, heads, tags and the content of the picture, wherever it lies."""
        tags = {name: item.example.tags.get(name) for name in self.label_tags}
        path = _path(item)
        content = [self.name(), self.version, self.identity, tags, _content(path) if path else repr(item.fields)]
        return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16).hexdigest()

    def grade(self, items: Sequence[Item]) -> list[Verdict]:
        """One verdict an item; pictures that cannot be read say why."""
        verdicts: list[Verdict] = [UNSCORED] * len(items)
        asked = [
            (place, path) for place, item in enumerate(items)
            if (path := _path(item)) is not None and _tags(item)
        ]  # fmt: skip
        decoded = shared_table(self.heads.size_px).read([path for _, path in asked])
        for at, why in decoded.refused.items():
            verdicts[asked[at][0]] = UNSCORED._replace(explanation=why)
        said = self.heads.say(decoded.pictures)
        read = [asked[at][1] for at in decoded.places]
        if read:
            features.remember(self.heads.identity, read, said.features.numpy())
        styles, things = said.style.numpy(), said.object.numpy()
        for row, at in enumerate(decoded.places):
            place = asked[at][0]
            verdicts[place] = self._verdict(_tags(items[place]), styles[row], things[row])
        return verdicts

    def _verdict(self, tags: dict[str, str], style: Any, thing: Any) -> Verdict:
        strange = [
            tags[tag] for tag, names in zip(self.label_tags, (self.heads.styles, self.heads.objects), strict=True)
            if tag in tags and tags[tag] not in names
        ]  # fmt: skip
        if strange:  # whatever is drawn would count as wrong, which for an unlearned concept looks like success
            return UNSCORED._replace(explanation=f"the heads know no {strange[0]}")
        told: dict[str, Any] = {}
        label, right = [], True
        for tag, names, p in zip(self.label_tags, (self.heads.styles, self.heads.objects), (style, thing), strict=True):
            best = int(p.argmax())
            label.append(names[best])
            told[tag] = [names[best], round(float(p[best]), DIGITS)]
            if tag in tags:
                told[f"{tag}_asked"] = round(float(p[names.index(tags[tag])]), DIGITS)
                right = right and names[best] == tags[tag]
        return Verdict(float(right), "/".join(label), json.dumps(told, ensure_ascii=False))


def _path(item: Item) -> Path | None:
    image = item.fields.get("image")
    return Path(image) if isinstance(image, str) and image and "\0" not in image else None


def _tags(item: Item) -> dict[str, str]:
    return {name: item.example.tags[name] for name in StyleObject.label_tags if name in item.example.tags}


def _content(path: Path) -> str:
    """Hash of the file; what is missing says so, so that the verdict is found anew once it is there."""
    try:
        return ImageRef(path=path).digest
    except UserError:
        return "missing"

