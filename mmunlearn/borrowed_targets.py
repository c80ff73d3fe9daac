"""Splits whose targets are the original's answers: what it wrote becomes what another model is scored on."""

import logging
from dataclasses import replace
from pathlib import Path

from mmunlearn.data import Example, Split
from mmunlearn.evaluate import rows_of

log = logging.getLogger(__name__)


def borrowed(split: Split, source: str, folder: Path) -> Split:
    """`split` with the texts that the run in `folder` answered to the examples of split `source` for targets.

    Examples belong together when their ids differ in the split's name alone ("b/fluency/7" and "b/fluency_source/7").
    Where that run has no answer, or an empty one, there is no target, so what needs one is unscored.
    """
    rows = rows_of(folder, source)
    if rows is None or "text" not in rows:
        log.warning("%s: no answers to %s there, so %s has no targets. Run the original.", folder, source, split.name)
        return split
    texts = {name: text for name, text in zip(rows.ids, rows["text"], strict=True) if isinstance(text, str)}

    def target(example: Example) -> Example:
        text = texts.get(example.id.replace(f"/{split.name}/", f"/{source}/", 1), "").strip()
        return replace(example, target=text or None)

    return split.mapped(target)
