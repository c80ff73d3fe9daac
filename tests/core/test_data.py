"""Examples, splits and fingerprints."""

import pytest

from mmunlearn.data import Example, ImageRef, Role, Split, image_digests, union
from mmunlearn.errors import UserError


def split(name="retain", **change):
    examples = [Example(id=f"e{i}", image=ImageRef(content=bytes([i])), prompt="p", target=i) for i in range(4)]
    if change:
        from dataclasses import replace

        examples[2] = replace(examples[2], **change)
    return Split(name, Role.RETAIN, tuple(examples))


def test_fingerprints_see_everything_that_a_model_or_judge_sees():
    base = split().fingerprint
    assert base == split().fingerprint == split("other name").fingerprint
    changes = (
        {"id": "x"}, {"prompt": "q"}, {"target": 9}, {"choices": ("a",)}, {"image": ImageRef(content=b"z")},
        {"image": None},
    )  # fmt: skip
    assert 7 == len({base, *(split(**change).fingerprint for change in changes)})
    assert base != split().subset([1, 0, 2, 3]).fingerprint


def test_splits_are_sequences():
    whole = split()
    assert 4 == len(whole) and "e1" == whole[1].id and ("e0", "e1") == tuple(e.id for e in whole[:2])
    assert ("e3", "e0") == whole.subset([3, 0]).ids
    assert [1, 2, 3, 4] == [e.target for e in whole.mapped(lambda e: e.with_target(e.target + 1))]
    assert whole[0].target == 0
    joined = union("train", Role.TRAIN, whole, whole.subset([2]))
    assert ("e0", "e1", "e2", "e3", "e2") == joined.ids and Role.TRAIN == joined.role
    assert whole[0].key == Example(id="e0").key != whole[1].key


def test_digests_read_files_once_and_name_missing_ones(tmp_path):
    (tmp_path / "a").write_bytes(bytes([1]))
    from_file = Example(id="f", image=ImageRef(path=tmp_path / "a"))
    assert image_digests([from_file, Example(id="n")]) == [split()[1].image.digest, ""]
    (tmp_path / "a").unlink()
    assert [split()[1].image.digest] == image_digests([from_file])
    with pytest.raises(UserError, match="cannot be read"):
        image_digests([Example(id="m", image=ImageRef(path=tmp_path / "gone"))])
