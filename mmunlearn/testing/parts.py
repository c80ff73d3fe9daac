"""The splits of a toy task, from one function that makes examples."""

from collections.abc import Callable

from mmunlearn.data import Example, Role, Split, union


def toy_parts(
    make: Callable[[str, int], Example], *, forget: int, retain: int, holdout: int
) -> dict[str, Split]:
    """forget, retain, test, unseen, calibration (the test examples again) and train (forget and retain).

    make: gives example number i of the split called name; called in the order of splits and numbers, so that one
    generator serves all.
    """
    sizes = {
        "forget": (Role.FORGET, forget), "retain": (Role.RETAIN, retain),
        "test": (Role.HOLDOUT, holdout), "unseen": (Role.UNSEEN, holdout),
    }  # fmt: skip
    parts = {name: Split(name, role, tuple(make(name, i) for i in range(n))) for name, (role, n) in sizes.items()}
    parts["calibration"] = Split("calibration", Role.HOLDOUT, parts["test"].examples)
    parts["train"] = union("train", Role.TRAIN, parts["forget"], parts["retain"])
    return parts
