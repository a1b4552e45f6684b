"""The whole examination: its parts side by side, their findings in one order."""

import asyncio

from config.settings import Settings, SmtpSettings
from daemon.doctor.database import look_at_database
from daemon.doctor.finding import Finding, ok, within
from daemon.doctor.host import look_at_host
from daemon.doctor.kafka import look_at_kafka
from daemon.notices.smtp import session


async def examined(settings: Settings) -> list[Finding]:
    """Look at all that the daemon needs; takes as long as the slowest of its time-outs, twice at most."""
    database, kafka, smtp, host = await asyncio.gather(
        look_at_database(settings.database),
        look_at_kafka(settings.kafka),
        _mail(settings),
        asyncio.to_thread(look_at_host, settings),
    )
    return [*database, *kafka, smtp, *host]


async def _mail(settings: Settings) -> Finding:
    if not settings.notices.enabled:
        return ok("mail", "off, as configured")
    seconds = settings.smtp.timeout.total_seconds() + 1
    return await within(seconds, "mail", _session(settings.smtp), "see [smtp] url: host, port, scheme, user, password")


async def _session(settings: SmtpSettings) -> Finding:
    async with session(settings) as client:
        told = "encrypted" if client.transport and client.transport.get_extra_info("ssl_object") else "not encrypted"
        user = ", logged in" if "@" in settings.url.rpartition("//")[2] else ""
    return ok("mail", f"the server takes sessions, {told}{user}")
