"""SIGHUP: the settings read anew; what can change at once does, what cannot is told (SPEC 13)."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Final

import structlog

from config.settings import Section, Settings
from config.sources import ConfigError

log = structlog.get_logger("daemon.reloading")

# A key, or a whole section, that is built into what runs; all others are gone by at once.
RESTART: Final = frozenset({
    "database.pool_size", "database.role",  # what runs has its connections and its grants
    "http", "ops",  # listeners
    "media.folder",
    "money.currency",
    "devices.poll_after", "devices.heartbeat",  # screens were told
})  # fmt: skip


class Live:
    """The settings in force, and who waits for others."""

    def __init__(self, settings: Settings, read: Callable[[], Settings]) -> None:
        """Begin with these; `read` reads all sources again and raises ConfigError."""
        self.settings = settings
        self.asked = asyncio.Event()  # set it to have them read again
        self._read = read
        self._changed = asyncio.Event()

    async def changed(self) -> None:
        """Return once other settings are in force."""
        await self._changed.wait()

    def reload(self) -> bool:
        """Read them again and say whether others are in force; a fault anywhere changes nothing and is logged."""
        try:
            wanted = self._read()
        except ConfigError as error:
            return _refused(error)
        differing = dict(_differing(self.settings, wanted))
        waiting = sorted(key for key in differing if _needs_restart(key))
        now = sorted(differing.keys() - waiting)
        if waiting:
            log.warning("configuration needs a restart", keys=waiting)
        log.info("configuration reloaded", changed=now)
        if now:
            self.settings = _with(self.settings, [differing[key] for key in now])
            self._changed.set()
            self._changed = asyncio.Event()
        return bool(now)


def _refused(error: ConfigError) -> bool:
    for fault in error.faults:
        log.error("configuration refused", key=fault.key, line=fault.line, reason=fault.reason)
    return False


Change = tuple[str, str, object]  # section, field, value


def _differing(old: Settings, new: Settings) -> Iterator[tuple[str, Change]]:
    """What differs, by its key as it is written in the file."""
    for name in Settings.model_fields:
        before: Section = getattr(old, name)
        after: Section = getattr(new, name)
        for field, about in type(after).model_fields.items():
            if getattr(before, field) != getattr(after, field):
                yield f"{name}.{about.alias or field}", (name, field, getattr(after, field))


def _needs_restart(key: str) -> bool:
    return key in RESTART or key.partition(".")[0] in RESTART


def _with(settings: Settings, changes: list[Change]) -> Settings:
    sections: dict[str, Section] = {}
    for name, field, value in changes:
        section = sections.get(name) or getattr(settings, name)
        sections[name] = section.model_copy(update={field: value})
    return settings.model_copy(update=sections)
