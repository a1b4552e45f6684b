"""`signaged token`: the first operator's token, and all that the API cannot give."""

from typing import Annotated, Literal
from uuid import UUID

from cyclopts import App, Parameter

from daemon.commands.options import ConfigFile, Json, UsageError, as_json, settings_of, transaction

app = App(name="token", help="Make tokens for the API.")


@app.command
async def create(
    *,
    role: Annotated[Literal["platform_admin", "operator", "advertiser"], Parameter(help="What its bearer may do.")],
    tenant: Annotated[UUID | None, Parameter(help="Whose it is; for advertisers, and for them alone.")] = None,
    name: Annotated[str | None, Parameter(help="A name to know it by.")] = None,
    config: ConfigFile = None,
    json: Json = False,
) -> int:
    """Make a token for the API and print it, alone; it is stored hashed and cannot be shown again.

    Example: `TOKEN=$(signaged token create --role operator --config signaged.toml)`
    """
    from daemon import tenants
    from playlists.fields import text
    from playlists.ids import TenantId

    try:
        name = name if name is None else text(1, 100)(name)
    except ValueError as error:
        raise UsageError(f"--name {error}") from None
    if (role == "advertiser") != (tenant is not None):
        raise UsageError("--tenant goes with --role advertiser, and with no other")
    async with transaction(settings_of(config)) as (tx, now):
        owner = TenantId(tenant) if tenant else None
        if owner and not await tenants.tenant_exists(tx, owner):
            raise UsageError(f"there is no tenant {tenant}")
        token_id, token = await tenants.create_token(tx, role, owner, name, now)
    print(as_json({"id": token_id, "token": token}) if json else token)
    return 0
