"""Activation codes and device tokens: how a player becomes a device's, and stops being it (SPEC 7)."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from devices.queries import enrolment as queries
from playlists.ids import DeviceId
from playlists.queries import Row, Tx

# No 0 O 1 I L and no U: nothing to misread, few words to blush at. 12 letters are 59 bits.
ALPHABET = "23456789ABCDEFGHJKMNPQRSTVWXYZ"
CODE_LETTERS = 12
TOKEN_BYTES = 32


class CodeRefused(Exception):
    """A code that gives no token; `detail` says why in words for whoever typed it."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What a redeemed code gives: the device it stands for and the token, shown this once."""

    device_id: DeviceId
    token: str


def new_code() -> str:
    """A code that a person can type, such as `7KQ2-M9XD-4HTB`."""
    letters = "".join(secrets.choice(ALPHABET) for _ in range(CODE_LETTERS))
    return "-".join(letters[at : at + 4] for at in range(0, CODE_LETTERS, 4))


def code_digest(typed: str) -> bytes:
    """The SHA-256 by which a code is known, however it was spaced and whatever its case."""
    return sha256("".join(typed.upper().replace("-", " ").split()).encode()).digest()


def token_digest(token: str) -> bytes:
    """The SHA-256 by which a device token is known; the token itself is nowhere stored."""
    return sha256(token.encode()).digest()


async def issue_code(tx: Tx, device_id: DeviceId, now: datetime, life: timedelta) -> tuple[str, datetime]:
    """A new activation code of a device and when it expires; codes given earlier stand beside it.

    The caller has seen that the device is there.
    """
    code, expires_at = new_code(), now + life
    await tx.execute(queries.ADD_CODE, code_digest(code), device_id, now, expires_at)
    return code, expires_at


async def redeem(tx: Tx, code: str, now: datetime) -> Enrolled:
    """Trade a code for a token; again until that token is first used, each time voiding the one before.

    Raises CodeRefused for a code that is unknown, expired or spent.
    """
    digest = code_digest(code)
    device_id = await tx.fetchval(queries.DEVICE_OF_CODE, digest)
    if device_id is None:
        raise CodeRefused("Activation code not found")
    # The device's row is locked first by all that change its codes and tokens.
    await tx.execute(queries.LOCK_DEVICE, device_id)
    found = await tx.fetchrow(queries.CODE, digest)
    if found is None or found["spent_at"] is not None:
        raise CodeRefused("Activation code was used before; ask for a new one")
    if found["expires_at"] <= now:
        raise CodeRefused("Activation code has expired; ask for a new one")
    token = secrets.token_urlsafe(TOKEN_BYTES)
    await tx.execute(queries.VOID_TOKENS_OF_CODE, digest, now)
    await tx.execute(queries.ADD_TOKEN, token_digest(token), device_id, digest, now)
    await tx.execute(queries.MARK_REDEEMED, digest, now)
    return Enrolled(DeviceId(device_id), token)


async def token_row(tx: Tx, digest: bytes) -> Row | None:
    """A token that was not revoked: `device_id used expires_at`; None for any other."""
    return await tx.fetchrow(queries.TOKEN, digest)


async def use_first(tx: Tx, digest: bytes, now: datetime) -> bool:
    """Note that a token was used for the first time; False when it is void by now.

    The first use of a token that came from a code replaces the player: every other token of the device is void,
    the codes up to this one are spent, and what the earlier player had downloaded no longer counts.
    """
    device_id = await tx.fetchval(queries.DEVICE_OF_TOKEN, digest)
    if device_id is None:
        return False
    await tx.execute(queries.LOCK_DEVICE, device_id)
    token = await tx.fetchrow(queries.USE_TOKEN, digest, now)
    if token is None:
        return bool(await tx.fetchval(queries.STANDS, digest, now))
    if token["code_sha256"] is not None:
        await tx.execute(queries.SPEND_CODES_UP_TO, device_id, token["code_sha256"], now)
        await tx.execute(queries.VOID_OTHER_TOKENS, device_id, digest, now)
        await tx.execute(queries.REPLACE_PLAYER, device_id, now)
        await tx.execute(queries.FORGET_FETCHES, device_id)
        await tx.execute(queries.REOFFER, device_id, now)
    return True


async def rotate(tx: Tx, device_id: DeviceId, now: datetime, overlap: timedelta) -> tuple[str, datetime]:
    """A further token of a device, and until when those it had are still good.

    The caller has seen that the device is there.
    """
    token, until = secrets.token_urlsafe(TOKEN_BYTES), now + overlap
    await tx.execute(queries.LOCK_DEVICE, device_id)
    await tx.execute(queries.EXPIRE_TOKENS, device_id, now, until)
    await tx.execute(queries.ADD_TOKEN, token_digest(token), device_id, None, now)
    return token, until


async def revoke(tx: Tx, device_id: DeviceId, now: datetime) -> int:
    """Void every token of a device, and the codes that could give it another; how many tokens there were."""
    await tx.execute(queries.LOCK_DEVICE, device_id)
    await tx.execute(queries.SPEND_CODES, device_id, now)
    return len(await tx.fetch(queries.VOID_TOKENS, device_id, now))
