"""The cache folder: where it is and that it exists."""

from mmunlearn.cache import cache_folder


def test_the_environment_variable_names_the_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MMUNLEARN_CACHE", str(tmp_path / "here"))
    assert tmp_path / "here" / "assets" / "npm" == cache_folder("assets", "npm")
    assert (tmp_path / "here" / "assets" / "npm").is_dir()


def test_without_it_the_folder_lies_in_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.delenv("MMUNLEARN_CACHE", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path / name)
    assert tmp_path / "mmunlearn" == cache_folder()
