"""`signaged dev` and `signaged fleet`: the whole job on one machine, and simulated screens against any daemon."""

import sys
import tomllib
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number

from daemon.commands.options import ConfigFile, Json, UsageError, as_json, settings_of

PORT = Number(gte=0, lte=65535)
COUNT = Number(gte=0)


async def dev(
    *,
    state: Annotated[Path, Parameter(help="Where everything is kept between runs.")] = Path(".signaged"),
    database_url: Annotated[str | None, Parameter(help="A PostgreSQL 18 of yours, by its owner's URL.")] = None,
    kafka: Annotated[str | None, Parameter(help="A Kafka of yours: host:port, or several with commas.")] = None,
    smtp: Annotated[str | None, Parameter(help="A mail server of yours: smtp://host:port.")] = None,
    screens: Annotated[int, Parameter(help="How many screens to simulate.", validator=COUNT)] = 300,
    port: Annotated[int, Parameter(help="The API's port, if it is free.", validator=PORT)] = 8080,
    ops_port: Annotated[int, Parameter(help="The port of probes and metrics, if it is free.", validator=PORT)] = 9464,
    config: ConfigFile = None,
) -> int:
    """Run everything here: PostgreSQL, Kafka, a mail sink, the daemon, simulated screens, and campaigns to watch.

    A sample network of a thousand stores in real cities is imported, campaigns are booked that start and end within
    minutes, and what happens is told line by line. State is kept in a folder and used again by the next run.
    The settings of a file given with --config go before those made here; a server that it names is used instead of
    one of our own. Ctrl-C or SIGTERM ends everything.
    """
    try:
        from daemon.dev.account import Console, ReaderGone
        from daemon.dev.dev import DevError, DevOptions, run
    except ModuleNotFoundError as error:
        print(f"signaged: {error.name} is not installed: `signaged dev` needs the wheel's extra [dev]", file=sys.stderr)
        return 69
    from daemon.dev.embedded import EmbeddedError
    from daemon.importing.command import NotImported

    given = _given(config)
    options = DevOptions(state.absolute(), database_url, kafka, smtp, screens, port, ops_port, given)
    code = 0
    try:
        await run(options, Console())
    except* (DevError, EmbeddedError, NotImported) as failed:
        code = _failed(failed)
    except* ReaderGone:
        code = 0
    return code


async def fleet(
    *,
    token_file: Annotated[Path | None, Parameter(help="A file with an operator's token, to make codes with.")] = None,
    token: Annotated[str | None, Parameter(help="The token itself; `ps` shows it to everybody.")] = None,
    screens: Annotated[int, Parameter(help="How many of the network's devices to play.", validator=COUNT)] = 100,
    url: Annotated[str | None, Parameter(help="The daemon's API [default: where the settings say it is].")] = None,
    state: Annotated[Path, Parameter(help="Where the screens' tokens are kept.")] = Path("fleet.json"),
    config: ConfigFile = None,
    json: Json = False,
) -> int:
    """Simulate screens against any daemon, as plain clients of the public device API.

    Each takes a device of the network, activates it, polls, downloads, reports readiness, plays what its playlist
    says and reports the plays. Counts are told every two seconds until ctrl-C.

    Example: `signaged fleet --token-file .signaged/operator-token --screens 50`
    """
    from daemon.dev.fleet import FleetError, FleetOptions, run

    def told(counts: dict[str, int]) -> None:
        line = as_json(counts).replace("\n", " ") if json else "  ".join(f"{name} {n}" for name, n in counts.items())
        print(line, flush=True)

    bearer = _token(token, token_file)
    code = 0
    try:
        await run(FleetOptions((url or _url(config)).rstrip("/"), bearer, screens, state), told)
    except* FleetError as failed:
        code = _failed(failed)
    return code


def _given(config: Path | None) -> dict[str, dict[str, Any]]:
    if config is None:
        return {}
    try:
        given = tomllib.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{config}: {error}") from error
    if odd := [name for name, section in given.items() if not isinstance(section, dict)]:
        raise UsageError(f"{config}: {odd[0]}: must be a section with keys")
    return given


def _token(token: str | None, file: Path | None) -> str:
    if (token is None) == (file is None):
        raise UsageError("give an operator's token with --token-file or --token, one of them")
    if file is None:
        return token or ""
    try:
        return file.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise UsageError(f"{file}: {error}") from error


def _url(config: Path | None) -> str:
    http = settings_of(config).http
    return http.public_url or f"http://{http.listen}"


def _failed(group: BaseExceptionGroup[Exception]) -> int:
    """Tell the first of what went wrong; the exit code for something that is missing."""
    one: BaseException = group
    while isinstance(one, BaseExceptionGroup):
        one = one.exceptions[0]
    print(f"signaged: {one}", file=sys.stderr)
    return 69
