"""What the full edition of a benchmark needs, in words, for `mmunlearn fetch`: data, models, judges."""

from mmunlearn.cards import Card
from mmunlearn.report.card_text import source_text
from mmunlearn.report.shown import size

# Prefixes of models that are made here: nothing is fetched for them.
MADE_HERE = ("scratch/", "timm/", "torchvision/")


def fetch_text(card: Card) -> str:
    """Data, models and judges of the full edition; how each is obtained. Nothing is downloaded by saying it."""
    blocks = [f"{card.name}: {card.title}", source_text(card) + _how(card), _models(card)]
    judges = _judges(card)
    blocks += [judges] if judges else []
    return "\n\n".join(block for block in blocks if block) + (
        f"\n\nNothing is downloaded. Verify a folder: mmunlearn fetch {card.name} --root DIR"
        f"\nGenerated stand-in:   mmunlearn fetch {card.name} --edition mini"
    )


def _how(card: Card) -> str:
    """The command that brings the data, where one can; a missing size is said, not left out."""
    source = card.source
    lines = []
    if source.kind == "hub" and source.repo:
        revision = f" --revision {source.revision}" if source.revision else ""
        lines.append(f"  command:  hf download {source.repo} --repo-type dataset{revision} --local-dir DIR")
    elif source.kind in ("archive", "drive"):
        lines.append("  command:  none; open the link, accept its terms and unpack under DIR")
    if source.bytes is None:
        lines.append("  size:     " + ("yours" if source.kind == "folder" else "not stated by the source"))
    return "".join(f"\n{line}" for line in lines)


def model_names(card: Card) -> list[str]:
    """Models that the full edition and its tables name, in order."""
    if "full" not in card.editions:
        return []
    named = [card.editions["full"].model, *(table.model for table in card.tables.values())]
    return list(dict.fromkeys(str(model["name"]) for model in named if "name" in model))


def _models(card: Card) -> str:
    names = model_names(card)
    if not names:
        return ""
    lines = []
    for name in names:
        facts = card.editions["full"].weights.get(name)
        if name.startswith(MADE_HERE):
            lines.append(f"  {name}: made here with new weights, nothing to fetch")
        elif facts is None:
            lines.append(f"  {name}: size and licence on its page, https://huggingface.co/{name}")
        else:
            large = size(facts.bytes) if facts.bytes else "size not stated"
            lines.append(f"  {name}: {large}; licence: {facts.licence}")
        if not name.startswith(MADE_HERE):
            lines.append(f"    command: hf download {name}, or give a folder: model.name=FOLDER")
    return "Models of the full edition\n" + "\n".join(lines)


def _judges(card: Card) -> str:
    """Templates whose grades the paper took from a model, and who gives them unless told otherwise."""
    found: dict[str, str] = {}
    for table in card.tables:
        for plan in card.plans(table):
            if plan.judge_name == "model_judge":
                backend = plan.judge_settings.get("backend") or {}
                who = backend.get("model") or backend.get("rule") or "nobody: give a backend"
                who = who if isinstance(who, str) else str(who.get("name"))
                kind = backend.get("kind", "")
                found[str(plan.judge_settings.get("template"))] = f"{kind} {who}".strip()
    if not found:
        return ""
    lines = [f"  {template}: {who}" for template, who in found.items()]
    told = "  another model: evaluate.judge_backend.kind=chat|server, see docs/judges.md"
    return "Judges (template: who grades unless told otherwise)\n" + "\n".join([*lines, told])
