"""Audit a judge on a labelled folder of pictures."""

from pathlib import Path
from typing import Annotated

import typer

from mmunlearn.errors import UserError, near_miss

ACTIONS = ("audit",)
EXAMPLES = (
    "mmunlearn judge audit photos --judge nudenet_parts --none none",
    "mmunlearn judge audit brands --variants template=unbranding_label_1 classes='[NIKE, NO_BRAND]' "
    "backend.kind=server backend.base_url=http://localhost:8000/v1 backend.model=NAME",
)


def command(
    action: Annotated[str, typer.Argument(help="audit: compare a judge with labels.")],
    folder: Annotated[Path, typer.Argument(help="labels.csv (filename, label, …), or a folder of pictures a label.")],
    words: Annotated[list[str] | None, typer.Argument(help="Settings of the judge, such as threshold=0.6.")] = None,
    judge: Annotated[str, typer.Option("--judge", help="A judge of pictures.")] = "model_judge",
    none: Annotated[str, typer.Option("--none", help="The label of pictures that show nothing.")] = "NO_BRAND",
    part: Annotated[str, typer.Option("--part", help="Rows of labels.csv to take: column=value.")] = "",
    mapped: Annotated[list[str] | None, typer.Option("--map", help="The judge's label = the folder's.")] = None,
    variants: Annotated[bool, typer.Option("--variants", help="Ask all five variants of the template.")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for audit.json and one row a picture.")] = None,
) -> None:
    """Accuracy, hallucination (pictures of nothing that get a label), Pearson and kappa, with 95 % intervals.

    Verdicts are kept under --out, so a repeated command asks only what is missing.
    """
    if action not in ACTIONS:
        raise UserError(f"mmunlearn judge: no such action {action!r}. {near_miss(action, ACTIONS)}")
    from mmunlearn import registry
    from mmunlearn.atomic import write_json
    from mmunlearn.judge_audit import audit, check_labels, items, read_labelled
    from mmunlearn.records import Shard
    from mmunlearn.settings import with_words

    labelled = read_labelled(folder, part=part)
    asked = items(labelled, folder)
    names = _names(mapped or [])
    settings = with_words({}, words or [])
    found = {}
    for title, content in _variants(settings, variants):
        grader = registry.load("judges", judge)(content)
        if grader.reads != "pictures" and judge != "model_judge":
            raise UserError(f"--judge: {judge} reads {grader.reads}, and {folder} holds pictures.")
        grader.ready()
        check_labels(grader, labelled, names)
        cache = _Stored(out / "verdicts" / title) if out is not None else {}
        result, rows = audit(grader, asked, names, none, cache)
        found[title] = result.plain()
        if out is not None:
            target = out / "rows" / title
            if not target.is_dir():
                Shard(target).append(rows)
        print(_line(title, found[title]))
    if out is not None:
        write_json(out / "audit.json", {"judge": judge, "folder": folder.name, "settings": settings, "figures": found})


def _variants(settings: dict, wanted: bool) -> list[tuple[str, dict]]:
    if not wanted:
        return [("judge", settings)]
    first = str(settings.get("template", ""))
    if not first.endswith("_1"):
        raise UserError("--variants: needs template=NAME_1, the first of five variants of a question.")
    return [(f"{first[:-1]}{k}", settings | {"template": f"{first[:-1]}{k}"}) for k in range(1, 6)]


def _names(mapped: list[str]) -> dict[str, str]:
    found = {}
    for pair in mapped:
        theirs, equals, ours = pair.partition("=")
        if not equals or not theirs or not ours:
            raise UserError(f"--map: {pair!r} is no pair. Write theirs=ours, for example --map nudity=nude.")
        found[theirs] = ours
    return found


def _line(title: str, figures: dict) -> str:
    def shown(name: str) -> str:
        cell = figures[name]
        if cell["value"] is None:
            return f"{name} –"
        span = f" ({cell['low']:.3f} to {cell['high']:.3f})" if cell["low"] is not None else ""
        return f"{name} {cell['value']:.3f}{span}"

    parts = ", ".join(shown(name) for name in ("accuracy", "hallucination", "pearson", "kappa"))
    return f"{title}: {parts}; {figures['pictures']} pictures, {figures['unscored']} unscored"


class _Stored(dict):
    """Verdicts kept in a folder by their key; what got no answer is asked again by the next command."""

    def __init__(self, folder: Path):
        from mmunlearn.judges.base import Verdict
        from mmunlearn.records import Shard, read_rows

        super().__init__()
        self.shard = Shard(folder)
        for row in read_rows(folder):
            value = float("nan") if row["value"] is None else row["value"]
            super().__setitem__(row["id"], Verdict(value, row["label"], row["explanation"], row["raw"]))

    def __setitem__(self, key, verdict):
        super().__setitem__(key, verdict)
        if not verdict.again:
            value = verdict.value if verdict.scored else None
            self.shard.append(
                [{"id": key, "value": value, "label": verdict.label, "explanation": verdict.explanation,
                  "raw": verdict.raw}]
            )  # fmt: skip
