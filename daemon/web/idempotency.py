"""Once per key: an answer kept in the transaction of its effect, and given again (SPEC 11)."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final
from uuid import UUID

import msgspec

from daemon.web.operations import Reply
from daemon.web.problems import CONTENT_TYPE, Problem, invalid, problem_of
from playlists.queries import Tx

LONGEST: Final = 255  # characters

# What a call may be told for reasons that are gone the next time; everything else a key keeps.
_PASSING: Final = frozenset({401, 403, 429})


@dataclass(frozen=True, slots=True)
class Key:
    """A key as one token used it on one method and path, and the SHA-256 of what came with it."""

    token_id: UUID
    method: str
    path: str
    key: str
    request_sha256: bytes

    def lock(self) -> int:
        """The advisory lock that concurrent uses of the key meet at."""
        name = "\0".join((str(self.token_id), self.method, self.path, self.key))
        return int.from_bytes(sha256(name.encode()).digest()[:8], signed=True)


_LOCK = "SELECT pg_try_advisory_xact_lock($1)"

_KEPT = """
SELECT request_sha256, status, headers, body FROM idempotency_keys
WHERE token_id = $1 AND method = $2 AND path = $3 AND key = $4 AND created_at > $5
"""

_KEEP = """
INSERT INTO idempotency_keys (token_id, method, path, key, request_sha256, status, headers, body, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (token_id, method, path, key) DO UPDATE SET
    request_sha256 = excluded.request_sha256, status = excluded.status, headers = excluded.headers,
    body = excluded.body, created_at = excluded.created_at
"""


def read_key(given: str) -> str:
    """A key from its header: 1 to 255 visible characters. Raises Problem validation."""
    if not 1 <= len(given) <= LONGEST or not given.isascii() or not given.isprintable():
        raise invalid([("Idempotency-Key", f"must be 1 to {LONGEST} visible ASCII characters")])
    return given


async def once(tx: Tx, key: Key, now: datetime, kept_for: timedelta, answer: Callable[[], Awaitable[Reply]]) -> Reply:
    """What `answer` gives, or what it gave when the key was used within `kept_for`, its refusals included.

    A refusal undoes what `answer` did, not the keeping of it. Raises Problem idempotency-mismatch when the key is in
    use now or stands for another body; faults of the moment (5xx, 401, 403, 429) pass through and keep nothing.
    """
    if not await tx.fetchval(_LOCK, key.lock()):
        raise Problem("idempotency-mismatch", "A request with this Idempotency-Key is under way")
    kept = await tx.fetchrow(_KEPT, key.token_id, key.method, key.path, key.key, now - kept_for)
    if kept is not None:
        if kept["request_sha256"] != key.request_sha256:
            raise Problem("idempotency-mismatch", "This Idempotency-Key was used with another body")
        return Reply(msgspec.Raw(kept["body"]) if kept["body"] else None, kept["status"], kept["headers"])
    try:
        async with tx.transaction():
            reply = await answer()
            body = b"" if reply.body is None else msgspec.json.encode(reply.body)
            kept_reply = Reply(msgspec.Raw(body) if body else None, reply.status, reply.headers)
    except Exception as error:
        problem = problem_of(error)
        if problem is None or problem.status >= 500 or problem.status in _PASSING:
            raise
        headers = {**problem.headers, "Content-Type": CONTENT_TYPE}
        kept_reply = Reply(msgspec.Raw(problem.body()), problem.status, headers)
        body = problem.body()
    await tx.execute(
        _KEEP,
        key.token_id,
        key.method,
        key.path,
        key.key,
        key.request_sha256,
        kept_reply.status,
        dict(kept_reply.headers),
        body,
        now,
    )
    return kept_reply
