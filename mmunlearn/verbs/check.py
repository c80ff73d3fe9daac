"""Resolve and validate the settings of a run; loads no weights."""

import math
import os
from pathlib import Path
from typing import Any

from mmunlearn.verbs.options import Config, Words, read_settings

EXAMPLES = (
    "mmunlearn check benchmark.name=mufac row=original",
    "mmunlearn check benchmark.name=mufac start=runs/original row=scrub method.epochs=3",
)


def command(words: Words = None, config: Config = None) -> None:
    """Resolve a run's settings (a YAML file, words or both), validate them and print them with the effective numbers.

    The settings are those of `mmunlearn unlearn`. Nothing is trained and no weights or data are read.
    """
    words = list(words or [])
    if config is None and words and "=" not in words[0]:
        config = Path(words.pop(0))
    content = read_settings(config, words)

    import yaml  # after the words were understood: what follows takes seconds to import

    from mmunlearn import registry
    from mmunlearn.evaluate import make_metric
    from mmunlearn.pipeline import make_benchmark, make_method, run_plans
    from mmunlearn.settings import plain
    from mmunlearn.verbs._run import run_settings

    settings = run_settings(content)
    method, benchmark = make_method(settings), make_benchmark(settings)
    card = benchmark.card
    for plan in run_plans(settings, benchmark):
        registry.load("judges", plan.judge_name, card.modality)(plan.judge_settings)
        for wanted in plan.metrics:
            make_metric(wanted, card.modality)
    content = plain(settings)
    content["method"] = {"name": settings.method["name"], **plain(method.config)}
    content["benchmark"] = {**plain(benchmark.config), "name": card.name}
    print(yaml.safe_dump(content, sort_keys=False, allow_unicode=True).rstrip())
    print("\n# effective numbers")
    for name, text in effective(content, card, settings.edition):
        print(f"# {name}: {text}")


def effective(content: dict[str, Any], card: Any, edition: str) -> list[tuple[str, str]]:
    """Batch per step, micro-batches, examples and steps as far as they follow from settings and card."""
    method, train = content["method"], content["train"]
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    facts = []
    batch = method.get("batch_size")
    if isinstance(batch, int):
        own = math.ceil(batch / processes)
        micro = min(train["micro_batch"] or own, own)
        accumulation = math.ceil(own / micro)
        facts.append(
            ("examples a step", f"{batch} = {processes} process(es) x {accumulation} micro-batch(es) of {micro}")
        )
    counts = {name: split.count for name, split in card.splits.items()} if edition == "full" else {}
    variant = content["benchmark"].get("variant") or content["benchmark"].get("split")
    epochs = method.get("epochs")
    for name in ("forget", "retain", "train"):
        count = counts.get(name, {})
        number = count.get(variant) if variant in count else next(iter(count.values())) if len(count) == 1 else None
        if number is None:
            continue
        steps = f", {math.ceil(number / batch)} steps an epoch over it" if isinstance(batch, int) else ""
        facts.append((name, f"{number:,} examples{steps}"))
    if isinstance(epochs, int):
        facts.append(("epochs", str(epochs)))
    optimiser = method.get("optimiser")
    if isinstance(optimiser, dict):
        facts.append(("optimiser", f"{optimiser['name']}, lr {optimiser['lr']:g}"))
    facts.append(("table", f"{card.name} {card.pick_table(content['evaluate']['table'])}, card version {card.version}"))
    return facts
