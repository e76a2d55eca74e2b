"""Writing a file so that a reader sees either the old content or the new, never a half."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path


def write_atomically(path: str | os.PathLike[str], content: str | bytes) -> Path:
    """Write `content` to `path` in one step and return the path.

    The content goes to a temporary file in the same directory, is flushed to the disk and then takes the
    place of `path`. Text is written as UTF-8 with its line ends unchanged. A missing directory is created.
    The mode of a file that is replaced is kept. A path that is no ordinary file (such as `/dev/stdout` or a
    pipe) is written directly, and a symbolic link is followed, not replaced.

    Raises `OSError` where the file cannot be written; then nothing has changed.
    """
    target = Path(path)
    data = content.encode("utf-8") if isinstance(content, str) else content
    if target.is_symlink():
        target = target.resolve()
    if target.exists() and not target.is_file() and not target.is_dir():
        with open(target, "wb") as stream:
            stream.write(data)
        return Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{target.name[:100]}.", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, _mode_for(target))
        os.replace(temporary, target)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    return Path(path)


def _mode_for(target: Path) -> int:
    """The permissions of the file to be replaced, or those that a new file would get."""
    try:
        return target.stat().st_mode & 0o7777
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask
