"""An SMTP server that keeps every mail it is given and sends none on."""

import asyncio
import contextlib
import email
import email.policy
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path

import anyio
import anyio.lowlevel
from aiosmtpd.smtp import SMTP, Envelope, Session


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail as it came in: the envelope's addresses, and the parsed message."""

    received_at: datetime
    sender: str
    recipients: tuple[str, ...]
    message: EmailMessage


@dataclass(slots=True)
class Mailbox:
    """What a running sink received so far, oldest first; `url` is where to send to."""

    url: str = ""
    messages: list[Mail] = field(default_factory=list)
    _arrived: anyio.Event = field(default_factory=anyio.Event)

    async def until(self, count: int) -> list[Mail]:
        """Wait until `count` mails have arrived, and give all there are."""
        while len(self.messages) < count:
            await self._arrived.wait()
        return self.messages

    def add(self, mail: Mail) -> None:
        """Keep a mail and wake who waits for one."""
        self.messages.append(mail)
        self._arrived.set()
        self._arrived = anyio.Event()


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)  # no slots: aiosmtpd looks at every attribute, and trips over theirs
class _Receiver:
    """aiosmtpd's callbacks for one mailbox."""

    box: Mailbox
    folder: anyio.Path | None
    now: Callable[[], datetime]

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 # aiosmtpd's name
        """Answer the SMTP reply to a whole mail; it is on disk, where wanted, before that."""
        content = envelope.original_content or b""
        received_at = self.now()
        if self.folder is not None:
            name = f"{received_at:%Y%m%dT%H%M%S.%f}-{len(self.box.messages) + 1:06}.eml"
            await self.folder.joinpath(name).write_bytes(content)
        message = email.message_from_bytes(content, policy=email.policy.default)
        self.box.add(Mail(received_at, envelope.mail_from or "", tuple(envelope.rcpt_tos), message))
        return "250 OK"


@contextlib.asynccontextmanager
async def mailbox(
    port: int | None = None, folder: Path | None = None, now: Callable[[], datetime] = _utc_now
) -> AsyncIterator[Mailbox]:
    """Take mail on 127.0.0.1 in the running loop, on a free port unless `port` names one.

    With `folder` each mail is also written there as an .eml file. Raises OSError when the port is taken.
    """
    box = Mailbox()
    if folder is not None:
        await anyio.Path(folder).mkdir(parents=True, exist_ok=True)
    receiver = _Receiver(box, None if folder is None else anyio.Path(folder), now)
    sessions: list[SMTP] = []
    loop = asyncio.get_running_loop()

    def session() -> SMTP:
        sessions[:] = [other for other in sessions if other.transport is not None]
        # naming ourselves saves aiosmtpd's look-up of this machine's name, which may block
        sessions.append(SMTP(receiver, hostname="mailbox.localhost", ident="mailbox", enable_SMTPUTF8=True, loop=loop))
        return sessions[-1]

    server = await loop.create_server(session, "127.0.0.1", port or 0)
    try:
        box.url = f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield box
    finally:
        server.close()
        for one in sessions:
            if one.transport is not None:
                one.transport.close()
        with anyio.CancelScope(shield=True):
            await server.wait_closed()
            await anyio.lowlevel.checkpoint()  # the closed sessions' tasks end in this turn
