"""The one seam to the mail server: a session within deadlines of our own, and what the server's answer means."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from email.message import EmailMessage
from enum import Enum
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import anyio
from aiosmtplib import (
    SMTP,
    SMTPException,
    SMTPNotSupported,
    SMTPRecipientsRefused,
    SMTPResponseException,
    SMTPSenderRefused,
)

from config.settings import SmtpSettings

PARTING_SECONDS = 1.0


class ServerUnavailable(Exception):
    """No session with the mail server could be had."""


class Answer(Enum):
    """What became of a mail."""

    SENT = "sent"
    DEFERRED = "deferred"  # the server, or the line, says: later
    REFUSED = "parked"  # the server says: never


class Reply(NamedTuple):
    """The answer and its words."""

    answer: Answer
    words: str


@asynccontextmanager
async def session(settings: SmtpSettings) -> AsyncIterator[SMTP]:
    """Yield a session that is ready for mail; its end takes at most a second. Raises ServerUnavailable."""
    seconds = settings.timeout.total_seconds()
    url = urlsplit(settings.url)
    client = SMTP(
        hostname=url.hostname,
        port=url.port,
        username=unquote(url.username) if url.username else None,
        password=unquote(url.password) if url.password else None,
        use_tls=url.scheme == "smtps",
        start_tls=url.scheme == "smtp+starttls",
        local_hostname=socket.gethostname(),  # aiosmtplib would ask the resolver, and block
        timeout=seconds,
    )
    try:
        try:
            async with asyncio.timeout(seconds):
                await client.connect()
        except (SMTPException, OSError, TimeoutError) as error:
            raise ServerUnavailable(words(error)) from error
        yield client
    finally:
        if client.is_connected:
            with suppress(SMTPException, OSError), anyio.move_on_after(PARTING_SECONDS, shield=True):
                await client.quit()
        client.close()


async def send(client: SMTP, mail: EmailMessage, sender: str, seconds: float) -> Reply:
    """Give a mail to the server. A time-out or a broken line counts as `DEFERRED`, though it may have been taken."""
    try:
        async with asyncio.timeout(seconds):
            await client.send_message(mail, sender=sender)
    except SMTPRecipientsRefused as error:
        return _refusal(error.recipients[0])
    except SMTPSenderRefused as error:  # our own address or log-in: to be mended, and no fault of this mail
        return Reply(Answer.DEFERRED, f"{error.code} {error.message}")
    except SMTPResponseException as error:
        return _refusal(error)
    except (SMTPNotSupported, ValueError) as error:
        return Reply(Answer.REFUSED, words(error))
    except (SMTPException, OSError, TimeoutError) as error:
        client.close()
        return Reply(Answer.DEFERRED, words(error))
    return Reply(Answer.SENT, "")


def _refusal(error: SMTPResponseException) -> Reply:
    permanent = 500 <= error.code < 600
    return Reply(Answer.REFUSED if permanent else Answer.DEFERRED, f"{error.code} {error.message}")


def words(error: BaseException) -> str:
    """What an exception says, or at least what it is."""
    return str(error) or type(error).__name__
