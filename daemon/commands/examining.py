"""`signaged doctor`: whether everything that the daemon stands on is as it must be."""

from typing import TYPE_CHECKING

from daemon.commands.options import ConfigFile, Json, as_json, settings_of

if TYPE_CHECKING:
    from daemon.doctor.finding import Finding


async def doctor(*, config: ConfigFile = None, json: Json = False) -> int:
    """Look at the settings, the database, Kafka, the mail server and this machine, and say what to do.

    Changes nothing and sends nothing; safe beside daemons at work. Run it as the daemon's user. Ends with 0 when all
    can serve, with 69 when something that is needed fails, with 78 for wrong settings.

    Example: `signaged doctor --config /etc/signaged/signaged.toml`
    """
    import logging

    from config.sources import ConfigError
    from daemon import logs
    from daemon.doctor.examination import examined
    from daemon.doctor.finding import fail, ok

    try:
        settings = settings_of(config)
    except ConfigError as error:
        advice = f"mend it in {config}" if config else "name a file with --config, or mend it in the environment"
        faults = [fail("settings", f"{fault.key}: {fault.reason}", advice) for fault in error.faults]
        _tell(faults, json)
        return 78
    logs.configure("error")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what it says of an outage is found by us too
    found = [ok("settings", f"{config or 'the environment'} is right"), *await examined(settings)]
    _tell(found, json)
    return 69 if any(one.level == "fail" for one in found) else 0


def _tell(found: "list[Finding]", json: bool) -> None:
    if json:
        sound = all(one.level != "fail" for one in found)
        print(as_json({"ok": sound, "checks": [one._asdict() for one in found]}))
        return
    for one in found:
        print(f"{one.level:<4}  {one.check}: {one.found}" + (f"; {one.advice}" if one.advice else ""))
