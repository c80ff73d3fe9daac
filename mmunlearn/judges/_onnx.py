"""ONNX networks: one session a file and process."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from mmunlearn.errors import UserError


def session(path: Path, judge: str) -> Any:
    """The session of a local file, made once. Raises UserError where runtime or file are missing or no network."""
    if not path.is_file():
        raise UserError(f"judge {judge}: {path}: no such file. Give the .onnx file in `weights`.")
    return _session(str(path), path.stat().st_mtime_ns, judge)


@lru_cache(maxsize=8)
def _session(path: str, _mtime_ns: int, judge: str) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise UserError(
            f"judge {judge}: the package onnxruntime is not installed.\nInstall it: pip install 'mmunlearn[detectors]'"
        ) from None
    import os

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", "0"))
    try:
        return onnxruntime.InferenceSession(path, options, providers=onnxruntime.get_available_providers())
    except Exception as error:  # the runtime's own exceptions share no public base
        first = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise UserError(f"judge {judge}: {path} is no ONNX network ({first}). Give another file.") from None
