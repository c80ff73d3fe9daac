"""Little editions in the real layouts: a module's `WRITE` with its `SIZES`, once; a copy for each test."""

import shutil

import pytest


@pytest.fixture(scope="module")
def made(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "mini"
    request.module.WRITE(folder, request.module.SIZES, 0)
    return folder


@pytest.fixture
def root(made, tmp_path):
    return shutil.copytree(made, tmp_path / "data")
