"""Malformed inputs: each ends in one to four lines that name what is wrong, and nothing is written.

A case builds its bad input in a folder of its own and returns either a call, which must raise UserError, or the words
of a command line, which must exit with 2 and say it on stderr. Files before and after must be the same.
"""

import csv
import errno
import json
import os
import pickle
import resource
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from mmunlearn import atomic, cli, registry, settings
from mmunlearn.cards import read_card, read_card_file
from mmunlearn.data import ImageRef
from mmunlearn.errors import UserError
from mmunlearn.run import Run
from mmunlearn.tables import ExampleColumns, read_table, to_examples
from mmunlearn.testing.benchmark_checks import tiny_root

Words = list[str]
CASES: dict[str, tuple[Callable, tuple[str, ...]]] = {}


def case(*fragments: str) -> Callable:
    """Register a builder of a bad input; the message must hold all `fragments`."""

    def add(build: Callable) -> Callable:
        CASES[build.__name__] = (build, fragments)
        return build

    return add


class Place:
    """A case's folder, with fresh copies of the tiny editions on demand."""

    def __init__(self, path: Path):
        self.path = path
        self.out = path / "out"

    def mufac(self) -> Path:
        """Tiny MUFAC; the folder with the tables is `self.tables`."""
        root = self._copy("mufac")
        self.tables = next(root.iterdir())
        return root

    def mucac(self) -> Path:
        """Tiny MUCAC."""
        return self._copy("mucac")

    def _copy(self, name: str) -> Path:
        root = self.path / name
        shutil.copytree(tiny_root(registry.load("benchmarks", name, "vision")), root)
        return root

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path


def files(folder: Path) -> dict[str, bytes]:
    """What lies under `folder`, the cache apart."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in sorted(folder.rglob("*"))
        if "cache" not in path.relative_to(folder).parts[:1]
    }


def splits(name: str, root: Path, edition: str = "mini", **config) -> Callable:
    if name == "mufac":
        config = {"forget_rows": 12, **config}
    return lambda: registry.load("benchmarks", name, "vision")(config).splits(root, edition)


# ---- settings ------------------------------------------------------------------------------------------------------
@case("gone.yaml", "no such file")
def settings_file_missing(place):
    return lambda: settings.read_yaml(place.path / "gone.yaml")


@case("s.yaml", "cannot be read as YAML")
def settings_file_is_not_yaml(place):
    path = place.write("s.yaml", "method: {name: npo")
    return lambda: settings.read_yaml(path)


@case("s.yaml", "holds a list")
def settings_file_is_a_list(place):
    path = place.write("s.yaml", "- method\n")
    return lambda: settings.read_yaml(path)


@case("s.yaml", "not UTF-8")
def settings_file_is_not_text(place):
    path = place.write("s.yaml", b"method: \xff\xfe")
    return lambda: settings.read_yaml(path)


@case("s.yaml", "base names the file itself")
def settings_file_is_its_own_base(place):
    path = place.write("s.yaml", "base: s.yaml\n")
    return lambda: settings.read_yaml(path)


@case("s.yaml", "base", "list")
def settings_base_is_a_list(place):
    path = place.write("s.yaml", "base: [a.yaml, b.yaml]\n")
    return lambda: settings.read_yaml(path)


@case("b.yaml", "a.yaml", "circle")
def settings_bases_go_in_a_circle(place):
    path = place.write("a.yaml", "base: b.yaml\n")
    place.write("b.yaml", "base: a.yaml\n")
    return lambda: settings.read_yaml(path)


@case("s.yaml")
def settings_file_runs_code(place):
    path = place.write("s.yaml", "method: !!python/object/apply:os.system ['true']\n")
    return lambda: settings.read_yaml(path)


@case("'lr'", "section.field=value")
def word_without_a_value(place):
    return ["check", "benchmark.name=mufac", "lr"]


@case("'.lr=1'", "section.field=value")
def word_without_a_section(place):
    return ["check", "benchmark.name=mufac", ".lr=1"]


@case("benchmark.name", "required")
def no_benchmark(place):
    return ["unlearn", "--out", str(place.out), "method.name=npo"]


@case("mufca", "Did you mean mufac")
def benchmark_misspelt(place):
    return ["unlearn", "--out", str(place.out), "benchmark.name=mufca", "row=scrub"]


@case("bta", "Did you mean beta?")
def method_setting_misspelt(place):
    return ["check", "benchmark.name=mufac", "method.name=npo", "method.bta=1", "start=x"]


@case("method", "scrubb", "Did you mean scrub")
def method_misspelt(place):
    return ["check", "benchmark.name=mufac", "method.name=scrubb", "start=x"]


@case("optimiser.lr", "'fast'")
def setting_of_the_wrong_type(place):
    return ["check", "benchmark.name=mufac", "row=finetune", "start=x", "method.optimiser.lr=fast"]


@case("schedule", "'wavy'")
def setting_outside_its_choices(place):
    return ["check", "benchmark.name=mufac", "row=finetune", "start=x", "method.schedule=wavy"]


@case("split", "'blue'")
def benchmark_setting_outside_its_choices(place):
    return ["check", "benchmark.name=mufac", "benchmark.split=blue", "row=original"]


@case("task", "'hair'")
def benchmark_task_unknown(place):
    return ["check", "benchmark.name=mucac", "benchmark.task=hair", "row=original"]


@case("forget_rows", "0")
def forget_no_rows(place):
    return ["check", "benchmark.name=mufac", "benchmark.forget_rows=0", "row=original"]


@case("edition", "'maxi'")
def edition_unknown(place):
    return ["unlearn", "--out", str(place.out), "benchmark.name=mufac", "row=original", "edition=maxi"]


@case("row", "scub", "Did you mean scrub")
def row_misspelt(place):
    return ["reproduce", "mufac", "--rows", "scub", "--out", str(place.out)]


@case("table", "'3'")
def table_unknown(place):
    return ["reproduce", "mufac", "--table", "3", "--out", str(place.out)]


@case("preset", "paper_compatt", "Did you mean paper_compat?")
def preset_misspelt(place):
    return ["reproduce", "mufac", "--preset", "paper_compatt", "--edition", "full", "--root", str(place.mufac()),
            "--out", str(place.out)]  # fmt: skip


@case("launcher", "slrm")
def launcher_unknown(place):
    return ["reproduce", "mufac", "--launcher", "slrm", "--out", str(place.out)]


@case("start", "required")
def nothing_to_unlearn(place):
    return ["unlearn", "--out", str(place.out), "benchmark.name=mufac", "row=scrub"]


@case("unlern", "unlearn")
def verb_misspelt(place):
    return ["unlern", "--out", str(place.out)]


# ---- cards ---------------------------------------------------------------------------------------------------------
def card(place, change: Callable[[dict], object], name: str = "mufac") -> Callable:
    content = yaml.safe_load(Path(_card_path()).read_text())
    change(content)
    path = place.write(f"{name}.yaml", yaml.safe_dump(content))
    return lambda: read_card_file(path)


def _card_path() -> Path:
    from mmunlearn.cards import card_files

    return card_files()["mufac"]


@case("mufac.yaml", "rows.scrub", "no `from` for epochs")
def card_setting_without_a_source(place):
    return card(place, lambda c: c["rows"]["scrub"].update({"from": {"optimiser": "here"}, "method": {
        "name": "scrub", "optimiser": {}, "epochs": 2}}))  # fmt: skip


@case("mufac.yaml", "'ghost' has no entry under rows")
def card_table_with_an_unknown_row(place):
    return card(place, lambda c: c["tables"]["main"]["rows"].append("ghost"))


@case("mufac.yaml", "is not a column")
def card_published_cell_without_a_column(place):
    return card(place, lambda c: c["tables"]["main"]["paper"]["cells"]["scrub"].update({"test/f1": 0.3}))


@case("mufac.yaml", "names split 'tset'")
def card_evaluation_of_an_unknown_split(place):
    return card(place, lambda c: c["evaluations"][0].update(split="tset"))


@case("mufac.yaml", "editions.full.modle", "Did you mean model?")
def card_key_misspelt(place):
    return card(place, lambda c: c["editions"]["full"].update(modle={}))


@case("mufac.yaml", "version", "'one'")
def card_version_is_a_word(place):
    return card(place, lambda c: c.update(version="one"))


@case("other.yaml", "'mufac'", "named like its file")
def card_under_another_name(place):
    return card(place, lambda c: None, name="other")


@case("nofac", "has no card")
def card_missing(place):
    return lambda: read_card("nofac")


# ---- tables --------------------------------------------------------------------------------------------------------
@case("t.jsonl", "line 2", "id '1' stands in line 1 too")
def table_with_an_id_twice(place):
    path = place.write("t.jsonl", '{"id": "1"}\n{"id": "1"}\n')
    return lambda: to_examples(read_table(path, {"id": ()}), "demo", ExampleColumns())


@case("t.jsonl", "line 2", "not JSON")
def table_cut_off(place):
    path = place.write("t.jsonl", '{"id": "1"}\n{"id": ')
    return lambda: read_table(path, {"id": ()})


@case("t.parquet", "not a readable parquet file")
def table_is_no_parquet(place):
    path = place.write("t.parquet", b"PAR1" + bytes(40) + b"PAR1")
    return lambda: read_table(path, {"id": ()})


@case("t.xlsx", "Allowed: .csv")
def table_of_an_unknown_kind(place):
    path = place.write("t.xlsx", "id")
    return lambda: read_table(path, {"id": ()})


# ---- MUFAC ---------------------------------------------------------------------------------------------------------
TRAIN = "custom_train_dataset.csv"


def edit(path: Path, change: Callable[[list[list[str]]], object]) -> None:
    """Change the rows of a CSV file, header included."""
    rows = list(csv.reader(path.open()))
    change(rows)
    with path.open("w", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows(rows)


def broken_table(place, change, name=TRAIN, **config) -> Callable:
    root = place.mufac()
    edit(place.tables / name, change)
    return splits("mufac", root, **config)


@case("empty", TRAIN, "custom_korean_family_dataset_resolution_128")
def mufac_root_is_empty(place):
    (place.path / "empty").mkdir()
    return splits("mufac", place.path / "empty")


@case("custom_val_dataset.csv", "not found")
def mufac_table_missing(place):
    root = place.mufac()
    (place.tables / "custom_val_dataset.csv").unlink()
    return splits("mufac", root)


@case("test_images", "no such folder")
def mufac_picture_folder_missing(place):
    root = place.mufac()
    (place.tables / "test_images").rename(place.tables / "tests")
    return splits("mufac", root)


@case("train_images", "2 of the", "first: ")
def mufac_pictures_missing(place):
    root = place.mufac()
    for file in sorted((place.tables / "train_images").iterdir())[:2]:
        file.unlink()
    return splits("mufac", root)


@case(TRAIN, "expected 10,025", "benchmark.check_counts=false")
def mufac_full_with_wrong_counts(place):
    return splits("mufac", place.mufac(), "full")


@case(TRAIN, "expected 10,025", "benchmark.check_counts=false")
def mufac_full_with_wrong_counts_by_command(place):
    return ["reproduce", "mufac", "--edition", "full", "--root", str(place.mufac()), "--out", str(place.out)]


@case(TRAIN, "expected 10,025")
def mufac_full_folder_verified(place):
    return ["fetch", "mufac", "--root", str(place.mufac())]


@case(TRAIN, "1,500", "benchmark.forget_rows")
def mufac_forgets_more_rows_than_there_are(place):
    return splits("mufac", place.mufac(), "full", check_counts=False, forget_rows=None)


@case(TRAIN, "line 4", "age_class 'z'", "a, b, c, d, e, f, g, h")
def mufac_unknown_letter(place):
    return broken_table(place, lambda rows: rows[3].__setitem__(2, "z"))


@case(TRAIN, "line 3", "age_class ''")
def mufac_empty_letter(place):
    return broken_table(place, lambda rows: rows[2].__setitem__(2, ""))


@case(TRAIN, "line 4", "stands in line 2 too")
def mufac_row_twice(place):
    return broken_table(place, lambda rows: rows.__setitem__(3, rows[1]))


@case(TRAIN, "is empty")
def mufac_table_empty(place):
    return broken_table(place, lambda rows: rows.clear())


@case(TRAIN, "no rows")
def mufac_table_with_header_only(place):
    return broken_table(place, lambda rows: rows.__delitem__(slice(1, None)))


@case(TRAIN, "no column age_class or age_group", "Columns: family_id")
def mufac_column_missing(place):
    return broken_table(place, lambda rows: rows[0].__setitem__(2, "years"))


@case(TRAIN, "no column")
def mufac_header_missing(place):
    return broken_table(place, lambda rows: rows.pop(0))


@case(TRAIN, "line 3", "3 fields", "4")
def mufac_row_cut_off(place):
    return broken_table(place, lambda rows: rows[2].pop())


@case(TRAIN, "line 2", "is not a file name")
def mufac_path_leads_out(place):
    return broken_table(place, lambda rows: rows[1].__setitem__(3, "../../secret.jpg"))


@case(TRAIN, "line 2", "person")
def mufac_person_missing(place):
    return broken_table(place, lambda rows: rows[1].__setitem__(1, ""))


@case(TRAIN, "line 3", "not UTF-8")
def mufac_table_in_another_encoding(place):
    root = place.mufac()
    lines = (place.tables / TRAIN).read_bytes().split(b"\n")
    lines[2] = "F0001,할머니,a,x.jpg".encode("euc-kr")
    (place.tables / TRAIN).write_bytes(b"\n".join(lines))
    return splits("mufac", root)


@case("custom_val_dataset.csv", "F0851-F0900", "swapped")
def mufac_val_and_test_swapped(place):
    root = place.mufac()
    for kind in ("custom_{}_dataset.csv", "{}_images"):
        val, test, aside = (place.tables / kind.format(n) for n in ("val", "test", "aside"))
        val.rename(aside), test.rename(val), aside.rename(test)
    return splits("mufac", root)


@case("F0001", "stands in", "too")
def mufac_family_in_two_files(place):
    root = place.mufac()
    table = place.tables / "custom_val_dataset.csv"
    edit(table, lambda rows: rows[1].__setitem__(0, "F0001"))
    return splits("mufac", root)


@case(TRAIN, "forget_flag 'maybe'")
def mufac_flag_is_neither(place):
    root = place.mufac()
    edit(place.tables / TRAIN, lambda rows: [r.append("maybe" if i else "forget_flag") for i, r in enumerate(rows)])
    return splits("mufac", root)


# ---- MUCAC ---------------------------------------------------------------------------------------------------------
IDENTITIES, ATTRIBUTES = "CelebA-HQ-identity.txt", "CelebA-HQ-attribute.txt"
PICTURES = Path("CelebAMask-HQ") / "CelebA-HQ-img"


def broken_list(place, name: str, change: Callable[[list[str]], object]) -> Callable:
    root = place.mucac()
    lines = (root / name).read_text().split("\n")
    change(lines)
    (root / name).write_text("\n".join(lines))
    return splits("mucac", root)


@case(IDENTITIES, "no such file", "CelebAMask-HQ")
def mucac_identities_missing(place):
    root = place.mucac()
    (root / IDENTITIES).unlink()
    return splits("mucac", root)


@case(ATTRIBUTES, "no such file")
def mucac_attributes_missing(place):
    root = place.mucac()
    (root / ATTRIBUTES).unlink()
    return splits("mucac", root)


@case("CelebA-HQ-img", "no pictures")
def mucac_pictures_missing(place):
    root = place.mucac()
    shutil.rmtree(root / "CelebAMask-HQ")
    return splits("mucac", root)


@case("1 of the 50 pictures", "first: 7.jpg", "benchmark.check_counts=false")
def mucac_a_picture_missing(place):
    root = place.mucac()
    (root / PICTURES / "7.jpg").unlink()
    return splits("mucac", root)


@case("expected 2,065", "benchmark.check_counts=false")
def mucac_full_with_wrong_counts(place):
    return ["reproduce", "mucac", "--edition", "full", "--root", str(place.mucac()), "--out", str(place.out)]


@case(IDENTITIES, "line 2", "is not a file name and an identity")
def mucac_identity_is_a_word(place):
    return broken_list(place, IDENTITIES, lambda lines: lines.__setitem__(1, "1.jpg Kim"))


@case(IDENTITIES, "line 3", "is not a file name such as 123.jpg")
def mucac_file_is_a_word(place):
    return broken_list(place, IDENTITIES, lambda lines: lines.__setitem__(2, "face.jpg 12"))


@case(IDENTITIES, "line 2", "stands there twice")
def mucac_file_twice(place):
    return broken_list(place, IDENTITIES, lambda lines: lines.__setitem__(1, lines[0]))


@case(IDENTITIES, "is empty")
def mucac_identities_empty(place):
    return broken_list(place, IDENTITIES, lambda lines: lines.clear())


@case(IDENTITIES, "no picture of an identity of forget")
def mucac_nobody_to_forget(place):
    def change(lines):
        lines[:] = [line for line in lines if not line or not 190 <= int(line.split()[1]) < 1250]

    return broken_list(place, IDENTITIES, change)


@case(ATTRIBUTES, "line 2", "Smiling is missing", "Smilling")
def mucac_attribute_misspelt(place):
    return broken_list(place, ATTRIBUTES, lambda lines: lines.__setitem__(1, lines[1].replace("Smiling", "Smilling")))


@case(ATTRIBUTES, "line 5", "39 values", "40 names")
def mucac_attribute_line_cut_off(place):
    return broken_list(place, ATTRIBUTES, lambda lines: lines.__setitem__(4, lines[4].rsplit(" ", 1)[0]))


@case(ATTRIBUTES, "line 3", "'2'", "neither -1 nor 1")
def mucac_attribute_value_unknown(place):
    def change(lines):
        fields = lines[2].split()
        fields[21] = "2"
        lines[2] = " ".join(fields)

    return broken_list(place, ATTRIBUTES, change)


@case(ATTRIBUTES, "line 1", "says 99", "50 follow")
def mucac_attribute_count_wrong(place):
    return broken_list(place, ATTRIBUTES, lambda lines: lines.__setitem__(0, "99"))


@case(ATTRIBUTES, "line 1", "expected the number of pictures")
def mucac_attribute_header_missing(place):
    return broken_list(place, ATTRIBUTES, lambda lines: lines.__delitem__(slice(0, 2)))


@case(ATTRIBUTES, "no line for 1 of the pictures")
def mucac_picture_without_attributes(place):
    def change(lines):
        lines.pop(2)
        lines[0] = str(int(lines[0]) - 1)

    return broken_list(place, ATTRIBUTES, change)


# ---- pictures ------------------------------------------------------------------------------------------------------
def decode(path: Path) -> Callable:
    return lambda: ImageRef(path=path).open()


def jpeg(place, name: str = "x.jpg") -> Path:
    path = place.path / name
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


@case("x.jpg", "not a readable image")
def picture_cut_off(place):
    path = jpeg(place)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return decode(path)


@case("x.jpg", "not a readable image")
def picture_is_text(place):
    return decode(place.write("x.jpg", "a web page that says 404"))


@case("x.jpg", "not a readable image")
def picture_is_empty(place):
    return decode(place.write("x.jpg", b""))


@case("x.png", "not a readable image")
def picture_is_damaged(place):
    path = jpeg(place, "x.png")
    content = bytearray(path.read_bytes())
    middle = content.index(b"IDAT") + 40
    content[middle : middle + 200] = bytes(200)
    path.write_bytes(content)
    return decode(path)


@case("x.png", "pixels", "refused")
def picture_is_a_decompression_bomb(place):
    """A PNG of a few kilobytes that claims 40,000 x 40,000 pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 0, 0, 0, 0)
    body = zlib.compress(bytes(100_000))
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    return decode(place.write("x.png", png))


@case("x.jpg", "cannot be read")
def picture_is_a_folder(place):
    (place.path / "x.jpg").mkdir()
    return decode(place.path / "x.jpg")


@case("F0001", "not a readable image")
def mufac_picture_cut_off_is_found_by_the_clean_split(place):
    root = place.mufac()
    first = list(csv.reader((place.tables / TRAIN).open()))[1][3]
    file = place.tables / "train_images" / first
    file.write_bytes(file.read_bytes()[:300])
    return splits("mufac", root, split="clean")


# ---- models --------------------------------------------------------------------------------------------------------
SMALL = {"name": "timm/test_resnet", "classes": 8, "size_px": 32}


def vision_handle(**more) -> object:
    from mmunlearn.modalities import handle_class

    return handle_class("vision")({**SMALL, **more}, 0)


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: str):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


@case("evil.pth", "refused")
def weights_are_a_pickle_with_code(place):
    path = place.write("evil.pth", pickle.dumps({"state_dict": Bomb(str(place.path / "exploded"))}))
    return lambda: vision_handle(weights=str(path))


@case("evil.pth", "refused")
def weights_are_a_torch_file_with_code(place):
    torch.save({"weight": Bomb(str(place.path / "exploded"))}, place.path / "evil.pth")
    return lambda: vision_handle(weights=str(place.path / "evil.pth"))


@case("w.safetensors", "not a safetensors file")
def weights_are_cut_off(place):
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(99)}, place.path / "w.safetensors")
    content = (place.path / "w.safetensors").read_bytes()
    path = place.write("w.safetensors", content[:60])
    return lambda: vision_handle(weights=str(path))


@case("gone.safetensors", "no such weights file")
def weights_are_missing(place):
    return lambda: vision_handle(weights=str(place.path / "gone.safetensors"))


@case("saved", "weights of another model")
def checkpoint_of_another_model(place):
    saved = place.path / "saved"
    vision_handle().save(saved)  # type: ignore[attr-defined]
    content = json.loads((saved / "handle.json").read_text())
    content["settings"]["classes"] = 5
    (saved / "handle.json").write_text(json.dumps(content))
    from mmunlearn.modalities import load_handle

    return lambda: load_handle("vision", saved)


@case("saved", "tiny", "vision")
def checkpoint_of_another_modality(place):
    from mmunlearn.modalities import load_handle
    from mmunlearn.testing.tiny import TinyHandle

    TinyHandle().save(place.path / "saved")
    return lambda: load_handle("vision", place.path / "saved")


@case("handle.json", "is missing")
def checkpoint_folder_holds_no_model(place):
    (place.path / "saved").mkdir()
    return ["unlearn", "--out", str(place.out), "benchmark.name=mufac", "row=scrub", f"start={place.path / 'saved'}",
            f"root={place.mufac()}", "benchmark.forget_rows=12"]  # fmt: skip


@case("gone", "no such folder")
def checkpoint_folder_missing(place):
    return ["unlearn", "--out", str(place.out), "benchmark.name=mufac", "row=scrub", f"start={place.path / 'gone'}",
            f"root={place.mufac()}", "benchmark.forget_rows=12"]  # fmt: skip


@case("model.name", "resnet181")
def model_misspelt(place):
    return lambda: vision_handle(name="torchvision/resnet181")


@case("model.name", "keras/resnet", "timm/<model>")
def model_of_an_unknown_library(place):
    return lambda: vision_handle(name="keras/resnet")


@case("classes", "0")
def model_without_classes(place):
    return lambda: vision_handle(classes=0)


# ---- run directory -------------------------------------------------------------------------------------------------
ORIGINAL = {"seed": 0, "method": {"name": "retrain", "epochs": 1}}


@case("out", "other settings", "method.epochs 1 -> 2", "--fresh")
def run_with_other_settings(place):
    Run.open(place.out, ORIGINAL).close()
    return lambda: Run.open(place.out, {"seed": 0, "method": {"name": "retrain", "epochs": 2}})


@case("out", "another process")
def run_that_another_process_holds(place):
    place.held = Run.open(place.out, ORIGINAL)
    return lambda: Run.open(place.out, ORIGINAL)


@case("out", "another process")
def run_that_another_process_holds_by_command(place):
    place.held = Run.open(place.out, ORIGINAL)
    return ["unlearn", "--out", str(place.out), "benchmark.name=mufac", "row=original", f"root={place.mufac()}",
            "benchmark.forget_rows=12"]  # fmt: skip


@case("out", "other settings", "--fresh")
def run_with_other_settings_by_command(place):
    Run.open(place.out, ORIGINAL).close()
    return ["unlearn", "--out", str(place.out), "benchmark.name=mufac", "row=original", f"root={place.mufac()}",
            "benchmark.forget_rows=12"]  # fmt: skip


@case("/proc/", "cannot be written")
def output_folder_that_cannot_be_written_by_command(place):
    return ["unlearn", "--out", "/proc/mmunlearn-run", "benchmark.name=mufac", "row=original", f"root={place.mufac()}",
            "benchmark.forget_rows=12"]  # fmt: skip


@case("out", "is not a run", "notes.txt")
def run_in_a_folder_with_other_things(place):
    place.out.mkdir()
    (place.out / "notes.txt").write_text("mine")
    return lambda: Run.open(place.out, ORIGINAL)


@case("out", "is a file")
def run_in_place_of_a_file(place):
    place.write("out", "mine")
    return lambda: Run.open(place.out, ORIGINAL)


@case("/proc/", "cannot be written")
def run_in_a_folder_that_cannot_be_written(place):
    return lambda: Run.open(Path("/proc/mmunlearn-run"), ORIGINAL)


@case("run", "cannot be written")
def run_below_a_file(place):
    place.write("out", "mine")
    return lambda: Run.open(place.out / "run", ORIGINAL)


@case("config.yaml", "cannot be written")
def run_on_a_full_disk(place):
    def call():
        with full_disk():
            Run.open(place.out / "run", ORIGINAL)

    place.out.mkdir()
    (place.out / "run").mkdir()
    (place.out / "run" / "run.lock").touch()
    return call


@case("table.json", "cannot be written")
def file_on_a_full_disk(place):
    def call():
        with full_disk():
            atomic.write_json(place.path / "table.json", {"rows": ["x" * 100]})

    return call


@case("model", "cannot be written")
def folder_on_a_full_disk(place):
    def call():
        with full_disk(), atomic.new_folder(place.path / "model") as folder:
            (folder / "weights").write_bytes(bytes(10_000))

    return call


class full_disk:
    """Every write beyond 16 bytes of a file fails, as on a disk without space."""

    def __enter__(self):
        self.old = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (16, self.old[1]))

    def __exit__(self, *_):
        resource.setrlimit(resource.RLIMIT_FSIZE, self.old)


@case("somewhere", "config.yaml is missing")
def evaluate_what_is_no_run(place):
    (place.path / "somewhere").mkdir()
    return ["evaluate", str(place.path / "somewhere")]


@case("somewhere")
def report_on_no_runs(place):
    (place.path / "somewhere").mkdir()
    return ["report", str(place.path / "somewhere")]


@case("step-00000001", "damaged checkpoint")
def run_with_a_damaged_checkpoint(place):
    run = Run.open(place.out, ORIGINAL)
    run.save(1, {"weights": torch.zeros(3)})
    run.close()
    (place.out / "checkpoints" / "step-00000001" / "state.safetensors").write_bytes(b"cut")
    return lambda: Run.open(place.out, ORIGINAL).latest()


@case("gone", "no such folder")
def full_edition_with_a_missing_root(place):
    return ["reproduce", "mufac", "--edition", "full", "--root", str(place.path / "gone"), "--out", str(place.out)]


@case("--root", "13,068", "Licence")
def full_edition_without_a_root(place):
    return ["reproduce", "mufac", "--edition", "full", "--out", str(place.out)]


@pytest.mark.parametrize("name", list(CASES))
def test_malformed(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MMUNLEARN_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    build, fragments = CASES[name]
    place = Place(tmp_path)
    call = build(place)
    before = files(tmp_path)
    if callable(call):
        with pytest.raises(UserError) as error:
            call()
        message = str(error.value)
    else:
        capsys.readouterr()
        assert UserError.exit_code == cli.main(call), capsys.readouterr()
        message = capsys.readouterr().err.rstrip("\n")
    assert 1 <= len(message.splitlines()) <= 4, message
    assert "Traceback" not in message
    missing = [part for part in fragments if part not in message]
    assert not missing, f"{missing} not in: {message}"
    assert before == files(tmp_path), sorted(set(before) ^ set(files(tmp_path)))


def test_there_are_enough_cases():
    assert 60 <= len(CASES)


def test_a_full_disk_is_imitated():
    with pytest.raises(OSError) as error, full_disk():
        Path(os.environ.get("TMPDIR", "/tmp"), f"mmunlearn-full-{os.getpid()}").write_bytes(bytes(100))
    Path(os.environ.get("TMPDIR", "/tmp"), f"mmunlearn-full-{os.getpid()}").unlink()
    assert errno.EFBIG == error.value.errno
