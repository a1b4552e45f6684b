"""The mail sink keeps what it is sent, as text and as a file."""

from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from pathlib import Path

import aiosmtplib
import pytest

from daemon.dev.mailbox import mailbox


async def test_keeps_a_mail_with_its_envelope_and_writes_it(tmp_path: Path) -> None:
    mail = EmailMessage(policy=default)
    mail["Subject"] = "Läuft: Frühlingsaktion"
    mail["From"] = "signaged@example.com"
    mail["To"] = "buyer@example.com"
    mail.set_content("Guten Tag – läuft.\n")
    async with mailbox(folder=tmp_path / "mails") as box:
        host, port = box.url.removeprefix("smtp://").split(":")
        await aiosmtplib.send(mail, hostname=host, port=int(port), recipients=["hidden@example.com"])
        [received] = await box.until(1)
    assert received.sender == "signaged@example.com"
    assert received.recipients == ("hidden@example.com",)
    assert received.message["Subject"] == "Läuft: Frühlingsaktion"
    assert received.message.get_content().splitlines() == ["Guten Tag – läuft."]
    [path] = (tmp_path / "mails").glob("*.eml")
    assert BytesParser(policy=default).parsebytes(path.read_bytes())["Subject"] == mail["Subject"]


async def test_an_open_session_ends_with_the_mailbox() -> None:
    async with mailbox() as box:
        host, port = box.url.removeprefix("smtp://").split(":")
        client = aiosmtplib.SMTP(hostname=host, port=int(port))
        await client.connect()
    with pytest.raises(aiosmtplib.SMTPException):
        await client.noop()
