"""Style transfer: which pictures belong together."""

import pytest
from mmunlearn.diffusion.canvas.files import read_canvas
from mmunlearn.diffusion.canvas.pairs import contents, transfers

from mmunlearn.errors import UserError


def test_the_content_of_a_picture_is_the_photo_of_the_same_index(folder, names):
    found = contents(read_canvas(folder, names, strict=True, what=""))
    assert 2 * 2 * 20 == len(found)
    for picture, photo in found.items():
        assert folder / "Seed_Images" / picture.object / f"{picture.number}.jpg" == photo.image.path


def test_tasks_of_style_transfer(folder, names):
    tasks = list(transfers(read_canvas(folder, names, strict=True, what="")))
    assert 2 * 2 * 2 * 18 == len(tasks) == len({task.file for task in tasks})
    assert {f"Abstractionism/Bears_test{c}_ref{r}.jpg" for c in (19, 20) for r in range(1, 19)} == {
        task.file for task in tasks if (task.style, task.object) == ("Abstractionism", "Bears")
    }
    for task in tasks:
        assert f"{task.style}/{task.object}_test" in task.file
        test, ref = task.file.removesuffix(".jpg").rpartition("_test")[2].split("_ref")
        assert folder / "Seed_Images" / task.object / f"{test}.jpg" == task.content.path
        assert folder / task.style / task.object / f"{ref}.jpg" == task.reference.path
        assert folder / task.style / task.object / f"{test}.jpg" == task.truth.path


def test_a_missing_photo(folder, names):
    (folder / "Seed_Images" / "Bears" / "4.jpg").unlink()
    with pytest.raises(UserError, match="no picture 4, but Abstractionism has one"):
        contents(read_canvas(folder, names, strict=False, what=""))


def test_parquet_files_do_not_say_which_pictures_belong_together(shards, names):
    with pytest.raises(UserError, match="pairing of styled pictures with their photos needs to know which index"):
        list(transfers(read_canvas(shards, names, strict=True, what="")))


def test_too_few_pictures_leave_no_reference(folder, names):
    for theme in names.themes:
        for index in range(3, 21):
            (folder / theme / "Bears" / f"{index}.jpg").unlink()
    with pytest.raises(UserError, match="leave no reference"):
        list(transfers(read_canvas(folder, names, strict=False, what="")))
