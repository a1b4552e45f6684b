"""The command line: `signaged COMMAND`; every failure ends with an exit code that a script can branch on (SPEC 12)."""

import os
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version

from cyclopts import App, CycloptsError

from daemon.commands import (
    clocks,
    configuration,
    developing,
    devices,
    examining,
    importing,
    instants,
    outbox,
    running,
    schema,
    tokens,
    verifying,
    versions,
)
from daemon.commands.options import UsageError

OK, USAGE, UNAVAILABLE, INTERNAL, TEMPORARY, CONFIGURATION = 0, 64, 69, 70, 75, 78

app = App(
    name="signaged",
    help="""Starts and completes advertising campaigns on digital signage screens, on the instant.

    To try it with nothing but this machine: `signaged dev`. For real: write a TOML file (`signaged config check`
    tells what is wrong with it), then `signaged migrate`, `signaged token create --role platform_admin`,
    `signaged doctor` and `signaged run`, each with `--config FILE`.

    Exit codes: 0 done, 64 usage, 69 something it needs is missing, 70 a fault of its own, 75 try again,
    78 configuration.
    """,
    version=lambda: version("signaged"),
    result_action="return_value",
)
# a line a command: those that call the daemon to life first; each module imports late what it works with
app.command(running.run)
app.command(schema.migrate)
app.command(configuration.app)
app.command(tokens.app)
app.command(devices.app)
app.command(importing.import_network, name="import")
app.command(verifying.verify)
app.command(outbox.app)
app.command(examining.doctor)
app.command(clocks.app)
app.command(developing.dev)
app.command(developing.fleet)
app.command(instants.instant)
app.command(versions.version)


def main() -> None:
    """Run the command in sys.argv and exit with its code."""
    sys.exit(execute(sys.argv[1:]))


def execute(arguments: Sequence[str]) -> int:
    """Run a command and return its exit code; what went wrong is said on stderr in one line where one is enough."""
    from daemon import failpoints, logs

    logs.configure("warning")  # news would mix with what a command prints; `run` has its own level
    try:
        failpoints.arm(os.environ)
        code = app(arguments, exit_on_error=False, print_error=False) or OK
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # `signaged ... | head`: who read has seen enough; Python would complain at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except (CycloptsError, UsageError) as error:
        return _failed(USAGE, f"{error}\nTry: signaged --help")
    except KeyboardInterrupt:
        return _failed(TEMPORARY, "interrupted")
    except Exception as error:  # noqa: BLE001 - the boundary: every failure gets its exit code
        return _known(error)


def _known(error: Exception) -> int:
    from config.sources import ConfigError
    from daemon.app import ListenError
    from daemon.database import DatabaseUnavailable
    from daemon.failpoints import BadFailpoints
    from daemon.inherited import BadSockets
    from daemon.migrate import MigrationError
    from daemon.session import NOT_MIGRATED

    if isinstance(error, (ConfigError, MigrationError, BadFailpoints, BadSockets)):
        return _failed(CONFIGURATION, str(error))
    if isinstance(error.__cause__, NOT_MIGRATED):
        return _failed(UNAVAILABLE, f"the database is not ready: {error}; run `signaged migrate`")
    if isinstance(error, DatabaseUnavailable):
        return _failed(UNAVAILABLE, f"the database is not available: {error}")
    if isinstance(error, ListenError):
        return _failed(TEMPORARY, str(error))
    traceback.print_exception(error)
    return INTERNAL


def _failed(code: int, reason: str) -> int:
    print(f"signaged: {reason}", file=sys.stderr)
    return code
