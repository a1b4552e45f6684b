"""The media folder: files named by the SHA-256 of their bytes, whole or not there at all."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from playlists.ids import Sha256

_UNFINISHED = ".unfinished"


class Torn(Exception):
    """The bytes given are not those announced; `field` is `size` or `sha256`, the text says how."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True)
class MediaFolder:
    """Where media lies: `<folder>/<first two digits>/<sha256>`, shared by all instances."""

    folder: Path

    def path(self, digest: Sha256) -> Path:
        """Where the file of that hash lies, whether or not it is there."""
        return self.folder / digest[:2] / digest

    def size(self, digest: Sha256) -> int | None:
        """The size in bytes of the file of that hash; None when it is not there. Blocks for one stat."""
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            return None


async def store(media: MediaFolder, digest: Sha256, size: int, chunks: AsyncIterator[bytes]) -> None:
    """Write the bytes of `chunks` durably under `digest`, or nothing: never a part of a file.

    Reads at most one chunk more than `size`. Raises Torn when they are not `size` bytes with that SHA-256, OSError
    from the disk, and what `chunks` raises.
    """
    handle, name = await asyncio.to_thread(_begin, media.folder)
    unfinished = Path(name)
    try:
        seen, hashed = 0, sha256()
        async for chunk in chunks:
            seen += len(chunk)
            if seen > size:
                raise Torn("size", f"must be {size} bytes as registered; got more")
            await asyncio.to_thread(_append, handle, hashed.update, chunk)
        if seen < size:
            raise Torn("size", f"must be {size} bytes as registered; got {seen}")
        if hashed.hexdigest() != digest:
            raise Torn("sha256", f"must be {digest} as registered; the bytes have {hashed.hexdigest()}")
        await asyncio.to_thread(_finish, handle, unfinished, media.path(digest))
    except BaseException:
        unfinished.unlink(missing_ok=True)  # noqa: ASYNC240 - one unlink, also when the loop is being cancelled
        raise
    finally:
        os.close(handle)


async def store_file(media: MediaFolder, digest: Sha256, size: int, file: Path) -> None:
    """Copy a file of this machine into the folder as `store` does, unless it is there."""

    async def chunks() -> AsyncIterator[bytes]:
        with await asyncio.to_thread(file.open, "rb") as source:
            while chunk := await asyncio.to_thread(source.read, 1 << 20):
                yield chunk

    if media.size(digest) != size:
        await store(media, digest, size, chunks())


def sweep(media: MediaFolder, older_than_seconds: float = 86400) -> int:
    """Delete what killed uploads left behind; returns how many files. Ages are by the file system's clock. Blocks."""
    unfinished = media.folder / _UNFINISHED
    if not unfinished.is_dir():
        return 0
    with tempfile.TemporaryFile(dir=unfinished) as newest:
        now = os.fstat(newest.fileno()).st_mtime
    swept = 0
    for path in unfinished.iterdir():
        with suppress(FileNotFoundError):  # another instance was first
            if now - path.stat().st_mtime > older_than_seconds:
                path.unlink()
                swept += 1
    return swept


def _begin(folder: Path) -> tuple[int, str]:
    unfinished = folder / _UNFINISHED
    unfinished.mkdir(parents=True, exist_ok=True)
    return tempfile.mkstemp(dir=unfinished)


def _append(handle: int, update: Callable[[bytes], None], chunk: bytes) -> None:
    update(chunk)
    rest = memoryview(chunk)
    while rest:
        rest = rest[os.write(handle, rest) :]


def _finish(handle: int, unfinished: Path, final: Path) -> None:
    os.fchmod(handle, 0o644)
    os.fsync(handle)
    final.parent.mkdir(exist_ok=True)
    unfinished.replace(final)
    for folder in (final.parent, final.parent.parent):
        _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
