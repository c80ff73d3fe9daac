"""A small LLaVA that learns a table of questions about pictures, to be a judge where no published model is at hand.

    python -m mmunlearn.vlm.question_model --table DIR/questions.jsonl --out FOLDER

The table has rows images (one or more paths beside the table), prompt, answer, part (train or test), kind, and facts
(names of what a picture shows, on which the tower warms up). FOLDER is a plain transformers model that knows nothing of
this package; report.json in it says how often held-out questions of each kind are answered rightly.
"""

import json
import logging
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from mmunlearn.atomic import new_folder
from mmunlearn.cache import cache_folder
from mmunlearn.data import ImageRef
from mmunlearn.errors import UserError
from mmunlearn.mini import code_digest
from mmunlearn.seeds import derive, generator
from mmunlearn.settings import Settings, digest
from mmunlearn.tables import read_jsonl

from .scratch import make_model
from .settings import VlmSettings

log = logging.getLogger(__name__)

TEMPLATE = (
    "{% for m in messages %}{% set at = namespace(n=0) %}{% for c in m['content'] %}{% if c['type'] == 'image' %}"
    "{% set at.n = at.n + 1 %}<image> is picture {{ at.n }}.{{ '\\n' }}{% else %}{{ c['text'] }}{% endif %}{% endfor %}"
    "{{ '\\n' }}{% endfor %}"
)
IMAGE = "<image>"
REPORT = "report.json"
EVERY_S = 30.0  # seconds between words about progress


class Recipe(Settings):
    """How the model learns. warm_up: steps in which the tower learns the facts alone. lead: steps in which the model
    is asked for nothing but the facts; without them it never learns to look at a picture."""

    size_px: int = Field(32, ge=8)
    patch_px: int = Field(8, ge=2)
    width: int = Field(128, ge=16)
    vision_layers: int = Field(2, ge=1)
    warm_up: int = Field(2500, ge=0)
    warm_up_rate: float = Field(2e-3, gt=0)
    lead: int = Field(900, ge=0)
    steps: int = Field(4000, ge=1)
    rate: float = Field(1e-3, gt=0)
    batch_size: int = Field(24, ge=2)
    seed: int = 0


@dataclass(frozen=True)
class Question:
    """One row of the table."""

    images: tuple[Path, ...]
    prompt: str
    answer: str
    part: str
    kind: str
    facts: Mapping[str, str]


def read_questions(table: Path) -> list[Question]:
    """Rows of the table. Raises UserError naming line and column."""
    found = []
    columns = dict.fromkeys(("images", "prompt", "answer", "part", "kind", "facts"), ())
    for record in read_jsonl(table, columns, optional=("kind", "facts", "part")):
        images = record["images"]
        if not isinstance(images, list) or not images or not all(isinstance(name, str) for name in images):
            raise record.fault(f"images is {images!r:.60}, not a list of paths.")
        paths = tuple(table.parent / name for name in images)
        for path in paths:
            if not path.is_file():
                raise record.fault(f"there is no picture {path}.")
        for name in ("prompt", "answer"):
            if not isinstance(record[name], str) or not record[name].strip():
                raise record.fault(f"{name} is {record[name]!r:.60}, not text.")
        part, facts = record.get("part") or "train", record.get("facts") or {}
        found.append(
            Question(paths, record["prompt"], record["answer"], part, str(record.get("kind") or "question"), facts)
        )
    if not any(question.part == "train" for question in found):
        raise UserError(f"{table}: no row has part train.")
    return found


def folder_for(root: str, recipe: Recipe | None = None) -> Path:
    """The model of the table `root`/questions.jsonl, from the cache or trained now, with progress on stderr."""
    recipe, table = recipe or Recipe(), Path(root) / "questions.jsonl"
    questions = read_questions(table)
    pictures = sorted({path for question in questions for path in question.images})
    seen = [ImageRef(path=path).digest for path in pictures]
    key = digest([ImageRef(path=table).digest, seen, recipe.model_dump(), code_digest(Recipe)])
    folder = cache_folder("models") / f"questions-{key}"
    if not (folder / REPORT).is_file():
        log.warning("training a small model on %d questions (some minutes, once)", len(questions))
        write_model(folder, questions, recipe)
    else:
        log.info("the model of %s is taken from the cache (%s)", table, folder)
    return folder


def write_model(folder: Path, questions: Sequence[Question], recipe: Recipe) -> dict[str, Any]:
    """Train, test on the held-out rows, and write the folder, whole or not at all; returns the report."""
    started = time.perf_counter()
    sizes = {
        "vision": {"image_size": recipe.size_px, "patch_size": recipe.patch_px, "hidden_size": recipe.width,
                   "intermediate_size": 2 * recipe.width, "num_hidden_layers": recipe.vision_layers},
        "text": {"hidden_size": recipe.width, "intermediate_size": 2 * recipe.width, "num_attention_heads": 4,
                 "num_key_value_heads": 4},
    }  # fmt: skip
    model, processor = make_model(VlmSettings(architecture=sizes), recipe.seed)
    processor.chat_template = TEMPLATE
    table = _Table(questions, processor, model.config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(recipe.seed, "question model"))
        _warm_up(model, table, recipe)
        _learn(model, table, recipe)
    report = {"seconds": round(time.perf_counter() - started, 1), "recipe": recipe.model_dump(),
              "questions": len(questions), "held_out": accuracies(model, table, processor.tokenizer)}  # fmt: skip
    with new_folder(folder) as temporary:
        model.save_pretrained(temporary)
        processor.save_pretrained(temporary)
        (temporary / REPORT).write_text(json.dumps(report, indent=1), encoding="utf-8")
    return report


def facts_asked(questions: Sequence[Question]) -> list[Question]:
    """Each fact of each picture as a question for its name, alone and among several: what the other questions are
    about. A model that has not learnt which picture is meant answers questions that compare pictures by guessing."""
    told = {q.images[0]: q.facts for q in questions if q.facts}
    shown = dict.fromkeys([*((path,) for path in sorted(told)), *(q.images for q in questions if len(q.images) > 1)])
    return [
        Question(images, f"What is the {name} in picture {number}?", value, "train", "fact", {})
        for images in shown
        for number, path in enumerate(images, start=1)
        for name, value in sorted(told.get(path, {}).items())
    ]


class _Table:
    """Questions as token ids, and each picture's pixels once."""

    def __init__(self, questions: Sequence[Question], processor: Any, config: Any):
        self.train = [i for i, q in enumerate(questions) if q.part == "train"]
        self.test = [i for i, q in enumerate(questions) if q.part != "train"]
        asked = facts_asked([questions[i] for i in self.train])
        self.facts = list(range(len(questions), len(questions) + len(asked)))
        self.questions = questions = [*questions, *asked]
        paths = sorted({path for q in questions for path in q.images})
        self.place = {path: i for i, path in enumerate(paths)}
        made = processor.image_processor([ImageRef(path=p).open() for p in paths], return_tensors="pt")
        self.pixels: Tensor = made["pixel_values"]
        patches = (config.vision_config.image_size // config.vision_config.patch_size) ** 2
        tokenizer = processor.tokenizer
        self.pad, self.end = tokenizer.pad_token_id, tokenizer.eos_token_id

        def ids(text: str) -> list[int]:
            return tokenizer(text, add_special_tokens=False).input_ids

        prompts: dict[tuple[str, int], list[int]] = {}
        for q in questions:
            key = (q.prompt, len(q.images))
            if key not in prompts:
                shown = (f"{IMAGE * patches} is picture {n}.\n" for n in range(1, len(q.images) + 1))
                prompts[key] = ids("".join(shown) + q.prompt + "\n")
        answers = {q.answer: [*ids(q.answer), self.end] for q in questions}
        self.prompt = [prompts[q.prompt, len(q.images)] for q in questions]
        self.answer = [answers[q.answer] for q in questions]

    def batch(self, chosen: Sequence[int]) -> dict[str, Tensor]:
        """Model inputs with labels at the answers, padded on the right."""
        rows = [self.prompt[i] + self.answer[i] for i in chosen]
        width = max(map(len, rows))
        ids = torch.tensor([row + [self.pad] * (width - len(row)) for row in rows])
        labels = torch.full_like(ids, -100)
        mask = torch.zeros_like(ids)
        for at, i in enumerate(chosen):
            start, end = len(self.prompt[i]), len(rows[at])
            labels[at, start:end] = ids[at, start:end]
            mask[at, :end] = 1
        pixels = self.pixels[[self.place[path] for i in chosen for path in self.questions[i].images]]
        return {"input_ids": ids, "attention_mask": mask, "labels": labels, "pixel_values": pixels}


def _warm_up(model: Any, table: _Table, recipe: Recipe) -> None:
    """Tower and projector learn to tell the facts of the training pictures from the mean of their patches."""
    facts = {q.images[0]: q.facts for q in (table.questions[i] for i in table.train) if q.facts}
    names = sorted({name for found in facts.values() for name in found})
    if not names or not recipe.warm_up:
        return
    paths = sorted(facts)
    known = {name: sorted({facts[path].get(name, "") for path in paths}) for name in names}
    targets = {
        name: torch.tensor([known[name].index(facts[path].get(name, "")) for path in paths]) for name in names
    }
    index = torch.tensor([table.place[path] for path in paths])
    tower, projector = model.model.vision_tower, model.model.multi_modal_projector
    layer, width = model.config.vision_feature_layer, model.config.text_config.hidden_size
    heads = nn.ModuleDict({name: nn.Linear(width, len(known[name])) for name in names})
    draw = generator(recipe.seed, "question model", "warm up")
    learnt = [*tower.parameters(), *projector.parameters(), *heads.parameters()]
    optimiser = torch.optim.AdamW(learnt, lr=recipe.warm_up_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.warm_up_rate, total_steps=recipe.warm_up)
    tower.train()
    told = _Progress("tower", recipe.warm_up)
    for step in range(recipe.warm_up):
        chosen = torch.from_numpy(draw.integers(0, len(paths), 2 * recipe.batch_size))
        seen = tower(_moved(table.pixels[index[chosen]], draw), output_hidden_states=True).hidden_states[layer]
        mean = projector(seen[:, 1:]).mean(1)
        loss = sum(functional.cross_entropy(heads[name](mean), targets[name][chosen]) for name in names)
        _step(loss, optimiser, schedule)
        told(step, loss)


def _learn(model: Any, table: _Table, recipe: Recipe) -> None:
    """Projector and text model learn the answers; every kind of question comes up equally often in every batch, the
    facts among them as questions for their names. A tower that was warmed up stays as it is, or it would drop what the
    commonest questions do not ask."""
    draw = generator(recipe.seed, "question model", "batches")
    kinds: dict[str, list[int]] = {}
    for i in table.train:
        kinds.setdefault(table.questions[i].kind, []).append(i)
    pools = [kinds[kind] for kind in sorted(kinds)]
    lead = recipe.lead if table.facts else 0
    pools = [*pools, table.facts] if lead else pools
    model.requires_grad_(True).train()
    model.model.vision_tower.requires_grad_(not (lead and recipe.warm_up))
    learnt = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(learnt, lr=recipe.rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.rate, total_steps=recipe.steps)
    told = _Progress("questions", recipe.steps)
    for step in range(recipe.steps):
        asked = [table.facts] if step < lead else pools
        which = [asked[row % len(asked)] for row in range(recipe.batch_size)]
        places = draw.random(recipe.batch_size).tolist()
        chosen = [pool[int(place * len(pool))] for pool, place in zip(which, places, strict=True)]
        inputs = table.batch(chosen)
        inputs["pixel_values"] = _moved(inputs["pixel_values"], draw)
        labels = inputs.pop("labels")
        hidden = model.model(**inputs, use_cache=False).last_hidden_state[:, :-1]
        loss = mean_of_answers(model.lm_head, hidden, labels[:, 1:])
        _step(loss, optimiser, schedule, learnt)
        told(step, loss)
    model.eval()


def mean_of_answers(head: nn.Module, hidden: Tensor, labels: Tensor) -> Tensor:
    """Mean over answers of the mean over their tokens, so that long answers do not drown short ones."""
    told = labels != -100
    losses = functional.cross_entropy(head(hidden[told]), labels[told], reduction="none")
    shares = (told / told.sum(1, keepdim=True))[told]
    return (losses * shares).sum() / len(labels)


def _step(loss: Any, optimiser: Any, schedule: Any, clipped: Sequence[Tensor] = ()) -> None:
    optimiser.zero_grad()
    loss.backward()
    if clipped:
        nn.utils.clip_grad_norm_(clipped, 1.0)
    optimiser.step()
    schedule.step()


def _moved(pixels: Tensor, draw: np.random.Generator) -> Tensor:
    """Each picture shifted by up to two pixels, a little lighter or darker, and with some noise."""
    shift = draw.integers(-2, 3, (len(pixels), 2)).tolist()
    moved = torch.stack([torch.roll(p, tuple(by), (1, 2)) for p, by in zip(pixels, shift, strict=True)])
    light = torch.from_numpy(draw.normal(0, 0.15, (len(pixels), 1, 1, 1))).float()
    noise = torch.from_numpy(draw.standard_normal(tuple(pixels.shape), dtype=np.float32))
    return moved + light + 0.1 * noise


class _Progress:
    """A line every half minute."""

    def __init__(self, what: str, steps: int):
        self.what, self.steps, self.last = what, steps, time.perf_counter()

    def __call__(self, step: int, loss: Any) -> None:
        now = time.perf_counter()
        if now - self.last >= EVERY_S or step + 1 == self.steps:
            log.warning("%s: step %d of %d, loss %.3f", self.what, step + 1, self.steps, loss.item())
            self.last = now


@torch.inference_mode()
def accuracies(model: Any, table: _Table, tokenizer: Any) -> dict[str, dict[str, float]]:
    """By kind of question: n, and how often the likeliest answer (greedy, token by token) is the right one."""
    right: dict[str, list[bool]] = {}
    for start in range(0, len(table.test), 64):
        chosen = table.test[start : start + 64]
        inputs = table.batch(chosen)
        labels = inputs.pop("labels")[:, 1:]
        said = model.lm_head(model.model(**inputs, use_cache=False).last_hidden_state[:, :-1]).argmax(-1)
        good = ((said == labels) | (labels == -100)).all(1).tolist()
        for i, hit in zip(chosen, good, strict=True):
            right.setdefault(table.questions[i].kind, []).append(hit)
    return {kind: {"n": len(hits), "accuracy": sum(hits) / len(hits)} for kind, hits in sorted(right.items())}


def main(argv: Sequence[str]) -> int:
    """The command line: --table FILE --out FOLDER and settings of Recipe as words."""
    import argparse

    from mmunlearn.settings import build, with_words

    parser = argparse.ArgumentParser(prog="python -m mmunlearn.vlm.question_model", description=__doc__)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("words", nargs="*", help="settings of the recipe, such as steps=500")
    given = parser.parse_args(argv)
    report = write_model(given.out, read_questions(given.table), build(Recipe, with_words({}, given.words), "recipe"))
    print(json.dumps(report, indent=1))
    return 0


if __name__ == "__main__":
    from mmunlearn.cli import guarded

    sys.exit(guarded(lambda: main(sys.argv[1:]), debug="--debug" in sys.argv))
