"""Traces that unlearning leaves: `python -m mmunlearn.vlm.traces RUN [RUN …] --original RUN`.

For each run: how alike its concept vectors are to the original's (cosine, L2 distance, Jaccard index of the 200 tokens
that each promotes most), and how likely the forgotten facts are in every form of the question. The vectors are those of
`--vectors FILE` (ConceptVectors' format), or else found in the original. Beside them stands whether they carry the
facts: what the original's answers lose when noise lies on the vectors. Written to RUN/traces.json.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmunlearn.atomic import write_json
from mmunlearn.attack_target import Target, open_target
from mmunlearn.data import Example, Split
from mmunlearn.errors import UserError
from mmunlearn.handle import Decoding

from ..handle import VlmHandle
from . import concept_vectors, forms


def measure(options: Any) -> int:
    """Measure every run, write and print."""
    original = _open(Path(options.original))
    forget, retain = (_held(original, name, options.limit) for name in (options.split, options.retain))
    known = original.handle
    assert isinstance(known, VlmHandle)
    plain = known.merged()
    vectors = (
        concept_vectors.read_vectors(Path(options.vectors)) if options.vectors
        else concept_vectors.find_vectors(plain, forget, retain, count=options.count)
    )  # fmt: skip
    carried = _carried(plain, vectors, forget, retain, options)
    facts = forms.without_paraphrases(forget.examples, options.right_choices)
    before = forms.score_forms(known, facts)
    _print_forms(original.path, before, None)
    print(
        f"{len(vectors)} concept vectors {'read' if options.vectors else 'found'}; noise of std {options.std} on them "
        f"adds {carried['forget_nats']:.3f} nats a token to forgotten answers, {carried['retain_nats']:.3f} to others."
    )
    for path in map(Path, options.runs):
        target = _open(path, original.data)
        assert isinstance(target.handle, VlmHandle)
        found = concept_vectors.likeness(plain, target.handle.merged(), vectors)
        after = forms.score_forms(target.handle, facts)
        told = {
            "schema": 1, "original": original.about, "run": target.about, "carried": carried,
            "vectors": [{**vector._asdict(), **like._asdict()} for vector, like in zip(vectors, found, strict=True)],
            "forms": {name: _form(score) for name, score in after.items()},
            "original_forms": {name: _form(score) for name, score in before.items()},
            "change": forms.change(before, after),
        }  # fmt: skip
        write_json(path / "traces.json", told)
        means = [float(np.mean([getattr(like, name) for like in found])) for name in concept_vectors.Likeness._fields]
        print("{}: vectors: cosine {:.4f}, distance {:.4f}, Jaccard {:.3f}".format(path, *means))
        _print_forms(path, after, forms.change(before, after))
    return 0


def _open(path: Path, data: Mapping[str, Split] | None = None) -> Target:
    target = open_target(path, data)
    if not isinstance(target.handle, VlmHandle):
        raise UserError(f"{path}: is a run of modality {target.modality}. Give runs of vision-language models.")
    return target


def _held(target: Target, name: str, limit: int) -> Split:
    if name not in target.data:
        raise UserError(f"{target.path}: its data have no split {name!r}. Splits: {', '.join(target.data)}.")
    split = target.data[name]
    answered = [example for example in split if isinstance(example.target, str)]
    if not answered:
        raise UserError(f"{target.path}: split {name!r} has no answers to score.")
    chosen = [answered[i] for i in np.unique(np.linspace(0, len(answered) - 1, min(limit, len(answered))).astype(int))]
    return Split(split.name, split.role, tuple(chosen))


def _carried(handle: VlmHandle, vectors: Sequence[Any], forget: Split, retain: Split, options: Any) -> dict[str, float]:
    """Nats a token that noise on the vectors adds to the answers of both splits."""
    plain = [_loss(handle, split.examples) for split in (forget, retain)]
    with concept_vectors.disturbed(handle, vectors, std=options.std, seed=options.seed):
        noisy = [_loss(handle, split.examples) for split in (forget, retain)]
    return {"forget_nats": noisy[0] - plain[0], "retain_nats": noisy[1] - plain[1], "std": options.std}


def _loss(handle: VlmHandle, examples: Sequence[Example]) -> float:
    how = Decoding(batch_size=32, max_new_tokens=0, fields={"generate": False})
    asked = [Example(id=e.id, image=e.image, prompt=e.prompt, target=e.target, tags=e.tags) for e in examples]
    answers = handle.respond(asked, how, 0)
    return float(np.mean([answer.fields["nll"] / answer.fields["count"] for answer in answers]))


def _form(score: forms.FormScore) -> dict[str, Any]:
    from mmunlearn.pipeline import cell_json

    parts = {name: cell_json(getattr(score, name)) for name in ("likelihood", "accuracy")}
    return parts | {"chance": None if np.isnan(score.chance) else score.chance}


def _print_forms(path: Path, scores: Mapping[str, forms.FormScore], change: Mapping[str, float] | None) -> None:
    parts = []
    for name, score in scores.items():
        moved = "" if change is None else f" ({change[name]:+.0%})"
        right = "" if np.isnan(score.chance) else f", right {score.accuracy.value:.3f} (chance {score.chance:.3f})"
        parts.append(f"{name}: likelihood {score.likelihood.value:.3f}{moved}{right}")
    print(f"{path}: " + "; ".join(parts))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with the process's words; returns the exit code (0, 2 for wrong input, 1 for a fault, 130)."""
    import argparse

    from mmunlearn.cli import guarded

    parser = argparse.ArgumentParser(prog="python -m mmunlearn.vlm.traces", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("runs", nargs="*", help="finished runs to look at")
    parser.add_argument("--original", required=True, help="the run before unlearning")
    parser.add_argument("--vectors", default="", help="ConceptVectors file; default: found in the original (ours)")
    parser.add_argument("--count", type=int, default=10, help="vectors to find")
    parser.add_argument(
        "--std", type=float, default=0.1, help="of the noise that tells whether vectors carry the facts"
    )
    parser.add_argument("--split", default="forget", help="the facts")
    parser.add_argument("--retain", default="retain", help="facts that the vectors shall not carry")
    parser.add_argument("--right-choices", type=int, default=0,
                        help="first choices of an example that are right too (FIUBench, CLEAR: 1)")  # fmt: skip
    parser.add_argument("--limit", type=int, default=200, help="facts of each split")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    options = parser.parse_args(argv)
    return guarded(lambda: measure(options), debug=options.debug)


if __name__ == "__main__":
    sys.exit(main())
