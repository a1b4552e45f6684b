"""Tenants and API tokens: who they are, what is put into their wallets, and the secrets that stand for them."""

import re
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from hashlib import sha256
from typing import Any
from uuid import UUID

import asyncpg

from daemon.campaigns import ledger
from daemon.campaigns.errors import Invalid
from daemon.campaigns.money import decimal, micros
from playlists.fields import Body, Read, integer, text, timezone
from playlists.ids import TenantId
from playlists.queries import Tx

_FIELDS = ("name", "currency", "timezone", "email", "running_limit", "approval_limit")
_CHANGEABLE = ("name", "timezone", "email", "running_limit", "approval_limit", "status")
_EMAIL = re.compile(r"[^@\s<>,;]{1,64}@[^@\s<>,;]{1,190}")
_HIGHEST_LIMIT = 1_000_000
_LARGEST_DEPOSIT = 10**9 * 1_000_000  # micros; a thousand times the largest budget


@dataclass(frozen=True, slots=True)
class TenantDefaults:
    """What a tenant is given that says nothing else; `approval_limit` in micros."""

    currency: str
    running_limit: int
    approval_limit: int


@dataclass(frozen=True, slots=True)
class TenantFields:
    """All that may be said of a new tenant (SPEC 11); `approval_limit` in micros."""

    name: str
    currency: str
    timezone: str
    email: str
    running_limit: int
    approval_limit: int


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant as it is stored, with its wallet; all money in micros."""

    id: TenantId
    name: str
    currency: str
    timezone: str
    email: str
    status: str
    running_limit: int
    approval_limit_micros: int
    funded_micros: int
    available_micros: int
    held_micros: int
    spent_micros: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Token:
    """An API token that is not revoked; its secret is known to its bearer alone."""

    id: UUID
    role: str
    name: str | None
    created_at: datetime


_COLUMNS = """n.id, n.name, n.currency, n.timezone, n.email, n.status, n.running_limit, n.approval_limit_micros,
    n.funded_micros, n.available_micros, m.held_micros, m.spent_micros, n.created_at, n.updated_at"""
_FROM = """tenants n CROSS JOIN LATERAL (
    SELECT coalesce(sum(c.held_micros), 0)::bigint AS held_micros,
           coalesce(sum(c.spent_micros), 0)::bigint AS spent_micros
    FROM campaigns c WHERE c.tenant_id = n.id) m"""
_ONE = f"SELECT {_COLUMNS} FROM {_FROM} WHERE n.id = $1"  # noqa: S608 - constants of ours
_PAGE = f"""
SELECT {_COLUMNS} FROM {_FROM}
WHERE ($1::uuid IS NULL OR n.id = $1) AND ($2::uuid IS NULL OR n.id > $2)
ORDER BY n.id LIMIT $3
"""  # noqa: S608 - as above
_CREATE = """
INSERT INTO tenants (name, currency, timezone, email, running_limit, approval_limit_micros, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $7) RETURNING id
"""
_CHANGE = """
UPDATE tenants SET name = coalesce($2, name), timezone = coalesce($3, timezone), email = coalesce($4, email),
    running_limit = coalesce($5, running_limit), approval_limit_micros = coalesce($6, approval_limit_micros),
    status = coalesce($7, status), updated_at = $8
WHERE id = $1
"""
_ADD_KEY = """
INSERT INTO api_tokens (token_sha256, role, tenant_id, name, created_at) VALUES ($1, $2, $3, $4, $5) RETURNING id
"""
_TOKENS = """
SELECT id, role, name, created_at FROM api_tokens
WHERE tenant_id = $1 AND revoked_at IS NULL AND ($2::uuid IS NULL OR id > $2)
ORDER BY id LIMIT $3
"""
_REVOKE = """
UPDATE api_tokens SET revoked_at = $3 WHERE id = $2 AND tenant_id = $1 AND revoked_at IS NULL RETURNING id
"""
_EXISTS = "SELECT EXISTS (SELECT FROM tenants WHERE id = $1)"


def check(given: object, defaults: TenantDefaults) -> TenantFields:
    """The tenant that a body describes. Raises Faulty with every fault."""
    body = Body(given, _FIELDS)
    fields = TenantFields(
        name=body.need("name", text(1, 100), ""),
        currency=body.need("currency", _only(defaults.currency), ""),
        timezone=body.need("timezone", timezone, ""),
        email=body.need("email", _email, ""),
        running_limit=body.take("running_limit", integer(0, _HIGHEST_LIMIT), defaults.running_limit),
        approval_limit=body.take("approval_limit", _amount, defaults.approval_limit),
    )
    body.done()
    return fields


def check_deposit(given: object) -> tuple[int, str]:
    """The micros and the reference of a deposit's body. Raises Faulty with every fault."""
    return _check_posting(given, _deposited, "reference")


def check_adjustment(given: object) -> tuple[int, str]:
    """The signed micros and the reason of an adjustment's body. Raises Faulty with every fault."""
    return _check_posting(given, _adjusted, "reason")


def _check_posting(given: object, amount_of: Read[int], words: str) -> tuple[int, str]:
    body = Body(given, ("amount", words))
    amount = body.need("amount", amount_of, 0)
    why = body.need(words, text(1, 200), "")
    body.done()
    return amount, why


async def create_tenant(tx: Tx, given: object, defaults: TenantDefaults, now: datetime) -> Tenant:
    """A new tenant from its body (SPEC 11). Raises Faulty with every fault."""
    return await add_tenant(tx, check(given, defaults), now)


async def add_tenant(tx: Tx, new: TenantFields, now: datetime) -> Tenant:
    """A new tenant, its wallet empty."""
    values = (new.name, new.currency, new.timezone, new.email, new.running_limit, new.approval_limit)
    made = TenantId(await tx.fetchval(_CREATE, *values, now))
    return Tenant(made, *values[:4], "ACTIVE", *values[4:], 0, 0, 0, 0, now, now)


def differences(stored: Tenant, wanted: TenantFields) -> dict[str, Any]:
    """The PATCH that makes a stored tenant what its fields say; its name and currency are who it is."""
    patch: dict[str, Any] = {}
    if stored.timezone != wanted.timezone:
        patch["timezone"] = wanted.timezone
    if stored.email != wanted.email:
        patch["email"] = wanted.email
    if stored.running_limit != wanted.running_limit:
        patch["running_limit"] = wanted.running_limit
    if stored.approval_limit_micros != wanted.approval_limit:
        patch["approval_limit"] = decimal(wanted.approval_limit)
    return patch


async def patch_tenant(
    tx: Tx, tenant_id: TenantId, given: dict[str, Any], defaults: TenantDefaults, now: datetime
) -> Tenant | None:
    """Change what is named; null brings a limit back to its default. None: no such tenant. Raises Faulty."""
    given = {
        **given,
        **{name: value for name, value in _cleared(defaults).items() if name in given and given[name] is None},
    }
    body = Body(given, _CHANGEABLE)
    body.errors += [(name, "is missing") for name in _CHANGEABLE if name in given and given[name] is None]
    values = (
        body.take("name", text(1, 100), None),
        body.take("timezone", timezone, None),
        body.take("email", _email, None),
        body.take("running_limit", integer(0, _HIGHEST_LIMIT), None),
        body.take("approval_limit", _amount, None),
        body.take("status", _status, None),
    )
    body.done()
    await tx.execute(_CHANGE, tenant_id, *values, now)
    return await tenant_row(tx, tenant_id)


async def tenant_row(tx: Tx, tenant_id: TenantId) -> Tenant | None:
    """One tenant with its wallet as of this statement; None when there is no such tenant."""
    row = await tx.fetchrow(_ONE, tenant_id)
    return None if row is None else Tenant(**row)


async def list_tenants(tx: Tx, only: TenantId | None, after: UUID | None, limit: int) -> list[Tenant]:
    """At most `limit` tenants in order of id, from behind `after`; with `only`, that one."""
    return [Tenant(**row) for row in await tx.fetch(_PAGE, only, after, limit)]


async def deposit(tx: Tx, tenant_id: TenantId, given: object, now: datetime) -> bool:
    """Put `amount` into a wallet under its `reference` (SPEC 5); False: no such tenant. Raises Faulty or Invalid."""
    amount, reference = check_deposit(given)
    return await _posted(tx, tenant_id, partial(ledger.deposit, tx, tenant_id, amount, reference, now))


async def adjust(tx: Tx, tenant_id: TenantId, given: object, actor: str, now: datetime) -> bool:
    """Correct a wallet by a signed `amount` for a `reason`, in `actor`'s name (SPEC 5, 11); False: no such tenant.

    Raises Faulty, Invalid, and InsufficientFunds when more is to be taken than is available.
    """
    amount, reason = check_adjustment(given)
    return await _posted(tx, tenant_id, partial(ledger.adjust, tx, tenant_id, amount, reason, actor, now))


async def _posted(tx: Tx, tenant_id: TenantId, post: Callable[[], Awaitable[None]]) -> bool:
    if not await tenant_exists(tx, tenant_id):
        return False
    try:
        await post()
    except asyncpg.NumericValueOutOfRangeError as error:
        raise Invalid([("amount", "is more than a wallet can hold")]) from error
    return True


async def create_token(
    tx: Tx, role: str, tenant_id: TenantId | None, name: str | None, now: datetime
) -> tuple[UUID, str]:
    """A new token's id and its secret, which is stored as a hash alone; an advertiser's has a tenant, others none."""
    secret = secrets.token_urlsafe(32)
    return await tx.fetchval(_ADD_KEY, sha256(secret.encode()).digest(), role, tenant_id, name, now), secret


async def list_tokens(tx: Tx, tenant_id: TenantId, after: UUID | None, limit: int) -> list[Token]:
    """At most `limit` of a tenant's tokens in order of id, from behind `after`; revoked ones are gone."""
    return [Token(**row) for row in await tx.fetch(_TOKENS, tenant_id, after, limit)]


async def revoke_token(tx: Tx, tenant_id: TenantId, token_id: UUID, now: datetime) -> bool:
    """Make a tenant's token worthless at once, on every instance; False when there is none to revoke."""
    return await tx.fetchval(_REVOKE, tenant_id, token_id, now) is not None


async def tenant_exists(tx: Tx, tenant_id: TenantId) -> bool:
    """Whether there is such a tenant."""
    return bool(await tx.fetchval(_EXISTS, tenant_id))


def _cleared(defaults: TenantDefaults) -> dict[str, Any]:
    return {"running_limit": defaults.running_limit, "approval_limit": decimal(defaults.approval_limit)}


def _only(currency: str) -> Read[str]:
    def read(given: object) -> str:
        if given != currency:
            raise ValueError(f"must be {currency}, the network's currency")
        return currency

    return read


def _email(given: object) -> str:
    if not _EMAIL.fullmatch(address := text(3, 254)(given)):
        raise ValueError("must be an email address")
    return address


def _amount(given: object) -> int:
    return micros(given)


def _deposited(given: object) -> int:
    amount = micros(given)
    if not 0 < amount <= _LARGEST_DEPOSIT:
        raise ValueError(f"must be between 0.01 and {decimal(_LARGEST_DEPOSIT)}")
    return amount


def _adjusted(given: object) -> int:
    amount = micros(given, signed=True)
    if not 0 < abs(amount) <= _LARGEST_DEPOSIT:
        most = decimal(_LARGEST_DEPOSIT)
        raise ValueError(f"must be between -{most} and {most}, and not 0.00")
    return amount


def _status(given: object) -> str:
    if given not in ("ACTIVE", "SUSPENDED"):
        raise ValueError("must be ACTIVE or SUSPENDED")
    return str(given)
