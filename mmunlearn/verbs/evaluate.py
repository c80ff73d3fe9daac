"""Score a finished run: respond, judge, reduce."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from mmunlearn.verbs.options import Words
from mmunlearn.verbs.options import read_settings as settings_of

EXAMPLES = (
    "mmunlearn evaluate runs/scrub --reference runs/retrain --original runs/original",
    "mmunlearn evaluate runs/po evaluate.judge_backend.kind=chat evaluate.judge_backend.model=FOLDER",
    "mmunlearn evaluate runs/scrub --representation --reference runs/retrain representation.images=pictures",
)


def command(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    reference: Annotated[Path | None, typer.Option(help="Run of the retrained model, for distances to it.")] = None,
    original: Annotated[Path | None, typer.Option(help="Run of the original model, for the no-op flag.")] = None,
    representation: Annotated[bool, typer.Option("--representation", help="Look at features instead.")] = False,
    words: Words = None,
) -> None:
    """Make what is missing of a run's responses and verdicts, and reduce them to cells again.

    evaluate.judge_backend.* lets another model grade what model judges grade; the responses stay as they are.
    --representation compares features instead: CKA with the reference and the original, k-NN and linear transfer.
    """
    from mmunlearn.evaluate import Comparison
    from mmunlearn.pipeline import execute, read_settings
    from mmunlearn.run import Run
    from mmunlearn.verbs._run import result_text

    for other in (reference, original):
        if other is not None:
            Run.read(other)
    content = settings_of(None, words)
    if representation:
        _representation(run, content, reference, original)
        return
    backend = _backend(content)
    results = execute(read_settings(run), run, compare=Comparison(reference, original), judge_backend=backend)
    if results:
        print(result_text(results, run))


def _backend(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """The judges' backend of words evaluate.judge_backend.*; every other word is refused."""
    from mmunlearn.errors import UserError

    if "representation" in content:
        raise UserError("mmunlearn evaluate: words such as representation.images=DIR need --representation.")
    section = content.get("evaluate", {})
    known = isinstance(section, Mapping) and set(section) <= {"judge_backend"} and set(content) <= {"evaluate"}
    backend = section.get("judge_backend", {}) if known else None
    if not isinstance(backend, Mapping):
        raise UserError(
            "mmunlearn evaluate: only evaluate.judge_backend.* may be given here; the run's other settings are stored "
            "with it.\nExample: evaluate.judge_backend.kind=server evaluate.judge_backend.base_url=URL"
        )
    return backend


def _representation(run: Path, content: Mapping[str, Any], reference: Path | None, original: Path | None) -> None:
    from mmunlearn.errors import UserError, near_miss
    from mmunlearn.representation import RepresentationSettings, represent
    from mmunlearn.settings import build

    unknown = [section for section in content if section != "representation"]
    if unknown or not isinstance(content.get("representation", {}), Mapping):
        raise UserError(f"{(unknown or ['representation'])[0]}: no such section. {near_miss('', ['representation'])}")
    settings = build(RepresentationSettings, content.get("representation", {}), "representation")
    results = represent(run, settings, reference=reference, original=original)
    width = max(len(name) for name in results["cells"])
    others = [name for name in ("reference", "original") if any(name in cell for cell in results["cells"].values())]
    print(f"  {'':<{width}}  {run.name:>18}" + "".join(f"  {name:>10}" for name in others))
    for name, cell in results["cells"].items():
        shown = "–" if cell["value"] is None else f"{cell['value']:.4f}"
        error = "" if cell["stderr"] is None else f" ± {cell['stderr']:.4f}"
        beside = ["–" if cell.get(who) is None else f"{cell[who]:.4f}" for who in others]
        print(f"  {name:<{width}}  {shown + error:>18}" + "".join(f"  {text:>10}" for text in beside))
    print(f"  -> {run / 'representation' / 'results.json'}")
