"""Who calls: a bearer token, looked up by its hash at every call, and what its role may do (SPEC 11)."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Final
from uuid import UUID

from daemon.web.problems import Problem
from playlists.ids import TenantId
from playlists.queries import Tx


class Role(StrEnum):
    """What a token stands for."""

    PLATFORM_ADMIN = "platform_admin"
    OPERATOR = "operator"
    ADVERTISER = "advertiser"


ADMIN: Final = frozenset({Role.PLATFORM_ADMIN})
STAFF: Final = frozenset({Role.PLATFORM_ADMIN, Role.OPERATOR})
ANYONE: Final = frozenset(Role)


@dataclass(frozen=True, slots=True)
class Caller:
    """The token behind a call; `tenant_id` is set exactly for an advertiser's."""

    token_id: UUID
    role: Role
    tenant_id: TenantId | None
    suspended: bool

    @property
    def actor(self) -> str:
        """How the transition log names it."""
        return f"token:{self.token_id}"

    @property
    def staff(self) -> bool:
        """Whether it is an operator's or an admin's, who see every tenant."""
        return self.role is not Role.ADVERTISER

    def sees(self, tenant_id: UUID | None) -> bool:
        """Whether what belongs to that tenant (None: to the network) is this caller's to know."""
        return self.staff or (tenant_id is not None and tenant_id == self.tenant_id)


_CALLER = """
SELECT t.id, t.role, t.tenant_id, n.status = 'SUSPENDED' AS suspended
FROM api_tokens t LEFT JOIN tenants n ON n.id = t.tenant_id
WHERE t.token_sha256 = $1 AND t.revoked_at IS NULL
"""


def bearer(authorization: str | None) -> bytes:
    """The SHA-256 of the token in an Authorization header. Raises Problem unauthorized when there is none."""
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise unauthorized("Authorization: Bearer TOKEN is missing")
    return sha256(token.strip().encode("utf-8", "surrogateescape")).digest()


async def caller_of(tx: Tx, token_sha256: bytes) -> Caller:
    """The caller whose token has that hash. Raises Problem unauthorized when it is unknown or revoked."""
    row = await tx.fetchrow(_CALLER, token_sha256)
    if row is None:
        raise unauthorized("The token is unknown or revoked")
    return Caller(row["id"], Role(row["role"]), row["tenant_id"], bool(row["suspended"]))


def permit(caller: Caller, roles: frozenset[Role], writes: bool) -> None:
    """Raises Problem forbidden when the caller's role is none of `roles`, or its tenant may not write now."""
    if caller.role not in roles:
        raise forbidden(roles)
    if writes and caller.suspended:
        raise Problem("forbidden", "The tenant is SUSPENDED: its tokens read only; needs an operator to lift it")


def forbidden(roles: Iterable[Role], what: str = "This") -> Problem:
    """403 that names the role needed."""
    return Problem("forbidden", f"{what} needs the role {' or '.join(sorted(roles, reverse=True))}")


def unauthorized(detail: str) -> Problem:
    """401 with the scheme that is asked for."""
    return Problem("unauthorized", detail, headers={"WWW-Authenticate": 'Bearer realm="signaged"'})
