"""Where the suite keeps what it can make again: fetched assets, mini data, mini models."""

import os
from pathlib import Path

VARIABLE = "MMUNLEARN_CACHE"


def cache_folder(*parts: str) -> Path:
    """The cache folder, or a folder inside it; made when it is missing.

    `MMUNLEARN_CACHE` names it; otherwise it is `mmunlearn` under the user's cache folder of the operating system.
    Everything below it is safe to delete.
    """
    named = os.environ.get(VARIABLE)
    if named:
        root = Path(named).expanduser()
    else:
        import platformdirs

        root = platformdirs.user_cache_path("mmunlearn")
    folder = root.joinpath(*parts)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
