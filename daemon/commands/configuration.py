"""`signaged config`: check settings and show what is in force."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from daemon.commands.options import ConfigFile, Json, as_json, settings_of

if TYPE_CHECKING:
    from config.sources import ConfigError

app = App(name="config", help="Check the settings, and show those in force.")


@app.command
def check(
    file: Annotated[Path | None, Parameter(help="The TOML file to check.")] = None,
    *,
    config: ConfigFile = None,
    json: Json = False,
) -> int:
    """Check the settings as `run` would read them, and report every fault with its line and key.

    Example: `signaged config check /etc/signaged/signaged.toml`. Ends with 78 when there is a fault.
    """
    from config.sources import ConfigError

    path = file or config
    try:
        settings_of(path)
    except ConfigError as error:
        if json:
            print(as_json({"ok": False, "faults": _plain(error)}))
        else:
            print(error, file=sys.stderr)
        return 78
    print(as_json({"ok": True, "faults": []}) if json else f"{path or 'the environment'}: ok")
    return 0


@app.command
def show(*, config: ConfigFile = None, json: Json = False) -> int:
    """Print the settings in force, defaults included, passwords hidden."""
    from config.sources import redacted
    from config.writing import toml

    told = redacted(settings_of(config))
    print(as_json(told) if json else toml(told))
    return 0


def _plain(error: "ConfigError") -> list[dict[str, object]]:
    return [{"key": fault.key, "line": fault.line, "reason": fault.reason} for fault in error.faults]
