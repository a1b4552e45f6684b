"""`signaged migrate`: bring the database's schema up to date."""

from daemon.commands.options import ConfigFile, Json, as_json, settings_of


async def migrate(*, config: ConfigFile = None, json: Json = False) -> int:
    """Bring the database's schema up to date and create the role that the daemon works under.

    Uses `[database] owner_url` (default: `url`), whose login owns the database and may create roles. Safe to repeat,
    and safe while daemons run: instances that migrate at once take turns.
    """
    from daemon.migrate import migrate as apply

    database = settings_of(config).database
    applied = await apply(database.owner_url or database.url, database.url, database.role)
    if json:
        print(as_json({"applied": applied}))
    else:
        print("\n".join(f"applied {name}" for name in applied) or "the schema is up to date")
    return 0
