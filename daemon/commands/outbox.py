"""`signaged outbox`: the messages that Kafka refused, and what to do with them."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from daemon.commands.options import ConfigFile, Json, UsageError, as_json, settings_of, transaction

if TYPE_CHECKING:
    from playlists.queries import Tx

    Decision = Callable[[Tx, Sequence[int]], Awaitable[list[int]]]

app = App(
    name="outbox",
    help="""See and settle messages that Kafka refuses; all others flow on by themselves.

    A refused message holds back the later ones of its campaign or device, and only those, so that their order stands.
    """,
)

Ids = Annotated[list[int], Parameter(help="Numbers of messages, as `signaged outbox list` shows them.")]


@app.command(name="list")
async def list_refused(
    *,
    limit: Annotated[int, Parameter(help="How many at most.")] = 100,
    config: ConfigFile = None,
    json: Json = False,
) -> int:
    """Show how much waits for Kafka, and each refused message with its reason.

    Example: `signaged outbox list --config signaged.toml`
    """
    from daemon.outbox import queries

    async with transaction(settings_of(config)) as (tx, _):
        backlog = await queries.backlog(tx)
        refused = await queries.list_parked(tx, limit)
    if json:
        print(as_json({**backlog._asdict(), "refused": [message._asdict() for message in refused]}))
        return 0
    since = f", the oldest since {backlog.oldest_at:%Y-%m-%dT%H:%M:%SZ}" if backlog.oldest_at else ""
    print(f"{backlog.pending} waiting{since}; {backlog.parked} refused for good")
    for message in refused:
        again = f"again at {message.next_attempt_at:%H:%M:%SZ}" if message.next_attempt_at else "until you decide"
        print(
            f"{message.id}  {message.topic} {message.key}/{message.sequence} {message.type}, {message.size} bytes, "
            f"{message.held_back} behind it, {again}: {message.error}"
        )
    return 0


@app.command
async def requeue(ids: Ids, /, *, config: ConfigFile = None, json: Json = False) -> int:
    """Try refused messages again, in their place, after the cause is gone (say, a broker's limit was raised).

    Example: `signaged outbox requeue 4711`
    """
    from daemon.outbox import queries

    return await _decide("requeued", queries.requeue, ids, config, json)


@app.command
async def skip(ids: Ids, /, *, config: ConfigFile = None, json: Json = False) -> int:
    """Drop refused messages for good; consumers see a gap in the sequence, the later messages flow on.

    Example: `signaged outbox skip 4711`
    """
    from daemon.outbox import queries

    return await _decide("skipped", queries.skip, ids, config, json)


async def _decide(word: str, decision: "Decision", ids: list[int], config: Path | None, json: bool) -> int:
    """Carry a decision out for all of the messages or for none: what is no refused message is no slip to pass over."""
    async with transaction(settings_of(config)) as (tx, _):
        found = await decision(tx, ids)
        if missing := sorted(set(ids) - set(found)):
            numbers = ", ".join(map(str, missing))
            raise UsageError(
                f"not among the refused messages: {numbers}; nothing was {word}. "
                "`signaged outbox list` shows their numbers; one that left or was dropped is there no more"
            )
    print(as_json({word: found}) if json else f"{word} {len(found)}")
    return 0
