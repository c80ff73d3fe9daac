"""Which rows of MUFAC's training table are forgotten: by row, by row after removing duplicates, by person or family."""

from collections.abc import Hashable, Mapping, Sequence

from ..duplicates import first_of_each

Rows = Sequence[int]


def clean(hashes: Mapping[str, Sequence[int]]) -> dict[str, list[int]]:
    """Positions that stay in forget, retain, val and test, in LoTUS's order of cleaning (vision.md 1.7).

    hashes: of each part's pictures. First forget rows that are also in retain go, then val rows that are also in test,
    then test rows that are also in training, then repeats inside each part (the first one stays).
    """
    forget, retain, val, test = (hashes[name] for name in ("forget", "retain", "val", "test"))
    return {
        "forget": first_of_each(forget, frozenset(retain)),
        "retain": first_of_each(retain),
        "val": first_of_each(val, frozenset(test)),
        "test": first_of_each(test, frozenset(forget) | frozenset(retain)),
    }


def whole_groups(groups: Sequence[Hashable], size: int) -> list[int]:
    """Positions of rows of whole groups whose number is as near to `size` as any choice of groups gets.

    groups: the group of each row. Of the choices that are equally near the smaller is taken, and of those the one that
    prefers groups that come first in the table; no draw is involved.
    """
    counts: dict[Hashable, int] = {}
    for group in groups:
        counts[group] = counts.get(group, 0) + 1
    names = list(counts)
    # Bit s of reachable[i] says that some of the groups from the i-th on have s rows together.
    reachable = [1] * (len(names) + 1)
    for i in range(len(names) - 1, -1, -1):
        reachable[i] = reachable[i + 1] | (reachable[i + 1] << counts[names[i]])
    sums = [total for total in range(len(groups) + 1) if reachable[0] >> total & 1]
    left = min(sums, key=lambda total: (abs(total - size), total))
    chosen = set()
    for i, name in enumerate(names):
        if counts[name] <= left and reachable[i + 1] >> (left - counts[name]) & 1:
            chosen.add(name)
            left -= counts[name]
    return [position for position, group in enumerate(groups) if group in chosen]
