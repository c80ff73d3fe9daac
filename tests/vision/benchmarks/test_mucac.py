"""The MUCAC reader on little folders in the layout of CelebA-HQ: parts by identity, tasks, order and counts."""

import pytest
from mmunlearn.vision.benchmarks.mucac import ATTRIBUTES, IDENTITIES, Mucac, part_of
from mmunlearn.vision.faces.mucac_writer import NAMES
from PIL import Image

from mmunlearn.errors import UserError

# file number -> (identity, male, smiling, young)
FACES = {
    0: (189, 1, -1, 1), 1: (190, -1, -1, -1), 2: (1249, 1, 1, 1), 3: (1250, 1, -1, -1), 10: (4854, -1, 1, 1),
    9: (4855, -1, -1, 1), 11: (6217, 1, 1, -1), 4: (3, -1, 1, -1),
}  # fmt: skip


def write(root, faces=FACES, names=NAMES, folder="CelebAMask-HQ/CelebA-HQ-img"):
    pictures = root / folder
    pictures.mkdir(parents=True, exist_ok=True)
    for number in faces:
        Image.new("RGB", (32, 32), (number * 20, 0, 0)).save(pictures / f"{number}.jpg")
    (root / IDENTITIES).write_text("".join(f"{n}.jpg {facts[0]}\n" for n, facts in faces.items()))
    lines = [str(len(faces)), " ".join(names)]
    for number, (_, male, smiling, young) in faces.items():
        values = dict.fromkeys(names, -1) | {"Male": male, "Smiling": smiling, "Young": young}
        lines.append(f"{number}.jpg  " + " ".join(str(values[name]) for name in names))
    (root / ATTRIBUTES).write_text("\n".join(lines) + "\n")
    return root


def read(root, edition="mini", **settings):
    return Mucac(settings).splits(root, edition)


def test_official_places_of_the_three_attributes():
    assert (21, 32, 40) == tuple(NAMES.index(name) + 1 for name in ("Male", "Smiling", "Young"))


@pytest.mark.parametrize(
    ("identity", "part"),
    [(0, "test"), (189, "test"), (190, "forget"), (1249, "forget"), (1250, "retain"), (4854, "retain"),
     (4855, "unseen"), (99999, "unseen")],
)  # fmt: skip
def test_the_identity_number_decides_the_part(identity, part):
    assert part == part_of(identity)


def test_parts_are_sorted_by_file_number(tmp_path):
    splits = read(write(tmp_path))
    assert ("mucac/000000", "mucac/000004") == splits["test"].ids == splits["calibration"].ids
    assert ("mucac/000001", "mucac/000002") == splits["forget"].ids
    assert ("mucac/000003", "mucac/000010") == splits["retain"].ids
    assert ("mucac/000009", "mucac/000011") == splits["unseen"].ids
    assert ("mucac/000001", "mucac/000002", "mucac/000003", "mucac/000010") == splits["train"].ids
    assert "1249" == splits["forget"][1].tags["identity"]


@pytest.mark.parametrize(
    ("task", "targets"),
    [("multi_label", [(0, 0, 0), (1, 1, 1)]), ("gender", [0, 1]), ("smiling", [0, 1]), ("young", [0, 1])],
)
def test_tasks_choose_the_targets(tmp_path, task, targets):
    assert targets == [e.target for e in read(write(tmp_path), task=task)["forget"]]


def test_label_vector_is_gender_smiling_young(tmp_path):
    assert [(1, 0, 1), (0, 1, 0)] == [e.target for e in read(write(tmp_path))["test"]]


def test_attributes_are_found_by_name_not_by_place(tmp_path):
    expected = [e.target for e in read(write(tmp_path / "a"))["train"]]
    shuffled = tuple(reversed(NAMES))
    assert expected == [e.target for e in read(write(tmp_path / "b", names=shuffled))["train"]]


@pytest.mark.parametrize("folder", [".", "CelebA-HQ-img"])
def test_a_flat_folder_of_smaller_pictures_is_read(tmp_path, folder):
    assert 4 == len(read(write(tmp_path, folder=folder))["train"])


@pytest.mark.parametrize(("task", "head", "classes"), [("multi_label", "labels", 3), ("young", "classes", 2)])
def test_the_task_decides_the_head(task, head, classes):
    model = Mucac({"task": task}).model("full")
    assert (head, classes, "torchvision/resnet18") == (model["head"], model["classes"], model["name"])


def test_missing_pictures_are_counted_and_may_be_allowed(tmp_path, caplog):
    root = write(tmp_path)
    (root / "CelebAMask-HQ/CelebA-HQ-img/2.jpg").unlink()
    with pytest.raises(UserError) as error:
        read(root, "full")
    assert "1 of the 8 pictures" in str(error.value) and "first: 2.jpg" in str(error.value)
    assert "benchmark.check_counts=false" in str(error.value)
    splits = read(root, "full", check_counts=False)
    assert ("mucac/000001",) == splits["forget"].ids
    assert "1 of the 8 pictures" in caplog.text


def test_full_edition_compares_counts_with_the_card(tmp_path):
    with pytest.raises(UserError, match=r"2 examples for test, expected 2,065 \(full\)"):
        read(write(tmp_path), "full")


def test_counts_of_the_card_add_up():
    splits = Mucac().card.splits
    assert 30_000 == sum(splits[name].count["full"] for name in ("train", "test", "unseen"))
    assert 29_900 == sum(splits[name].count["notebook"] for name in ("train", "test", "unseen"))
    assert splits["train"].count["notebook"] == sum(splits[n].count["notebook"] for n in ("forget", "retain"))
