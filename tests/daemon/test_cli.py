"""The command line: it teaches, and its exit codes mean what SPEC 12 says."""

import json
import re
from pathlib import Path

import pytest

from playlists.queries import Tx
from tests.daemon.process import NOWHERE, signaged

ROOT = Path(__file__).parents[2]
SHIPPED = str(ROOT / "config" / "signaged.toml")
COMMANDS = ["config", "dev", "fleet", "import", "instant", "migrate", "outbox", "run", "token", "verify", "version"]


async def test_help_lists_every_command_with_what_it_is_for() -> None:
    told = await signaged("--help")
    assert told.code == 0
    listed = re.findall(r"(?m)^│ ([a-z]+) +[A-Z]\S+", told.out)
    assert set(COMMANDS) <= set(listed)


@pytest.mark.parametrize(
    "command", ["run", "migrate", "config check", "config show", "token create", "instant", "version"]
)
async def test_every_command_explains_itself_and_takes_config(command: str) -> None:
    told = await signaged(*command.split(), "--help")
    assert told.code == 0
    assert "--config" in told.out
    assert len(told.out.splitlines()) > 5


@pytest.mark.parametrize(
    "arguments",
    [
        ("fly",),
        ("run", "--fast"),
        ("token", "create"),
        ("token", "create", "--role", "king"),
        ("token", "create", "--role", "advertiser"),
        ("token", "create", "--role", "operator", "--tenant", "00000000-0000-7000-8000-000000000001"),
        ("instant", "yesterday", "Europe/Berlin"),
        ("instant", "2026-01-01T00:00", "Europe/Berlln"),
        ("instant", "2026-01-01T00:00Z", "Europe/Berlin"),
    ],
    ids=" ".join,
)
async def test_usage_error_is_64_and_says_what_was_wrong(arguments: tuple[str, ...]) -> None:
    ended = await signaged(*arguments)
    assert ended.code == 64
    assert ended.out == ""
    assert ended.err.startswith("signaged: ")
    assert "Traceback" not in ended.err


async def test_config_check_is_78_with_line_and_key(tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text('[database]\nurl = "postgresql://x/y"\n[kafka]\nbootstrap_servers = "a:1"\ntopics = "x"\n')
    for arguments in (
        ("config", "check", str(file)),
        ("run", "--config", str(file)),
        ("migrate", "--config", str(file)),
    ):
        ended = await signaged(*arguments)
        assert ended.code == 78
        assert f"{file}:5: kafka.topics: unknown key" in ended.err
    told = await signaged("config", "check", str(file), "--json")
    assert json.loads(told.out) == {
        "ok": False,
        "faults": [{"key": "kafka.topics", "line": 5, "reason": "unknown key"}],
    }
    assert (await signaged("config", "check", SHIPPED)).code == 0


async def test_config_show_is_a_file_that_means_the_same_without_its_passwords(tmp_path: Path) -> None:
    environ = {"SIGNAGED_DATABASE__URL": "postgresql://me:secret@db/x", "SIGNAGED_TICKER__RETRIES": "1,2"}
    shown = await signaged("config", "show", "--config", SHIPPED, environ=environ)
    assert shown.code == 0
    assert "secret" not in shown.out
    file = tmp_path / "shown.toml"
    file.write_text(shown.out)
    again = await signaged("config", "show", "--config", str(file))
    assert again.out == shown.out
    assert json.loads((await signaged("config", "show", "--config", str(file), "--json")).out)["ticker"]["retries"] == [
        1,
        2,
    ]


async def test_instant_is_the_resolver_as_json() -> None:
    gap = await signaged("instant", "2026-03-29T02:30", "Europe/Berlin")
    told = json.loads(gap.out)
    assert re.fullmatch(r"\d{4}[a-z]", told.pop("tzdata_version"))
    assert told == {"utc": "2026-03-29T01:30:00Z", "status": "gap"}
    skipped = json.loads((await signaged("instant", "2026-03-29T02:30", "Europe/Berlin", "--policy", "skip")).out)
    assert (skipped["utc"], skipped["status"]) == (None, "gap")
    second = json.loads((await signaged("instant", "2026-10-25T02:30", "Europe/Berlin", "--policy", "later")).out)
    assert (second["utc"], second["status"]) == ("2026-10-25T01:30:00Z", "fold")


async def test_missing_database_is_69() -> None:
    for arguments in (("migrate",), ("token", "create", "--role", "operator")):
        ended = await signaged(*arguments, environ=NOWHERE)
        assert ended.code == 69
        assert ended.err.startswith("signaged: the database is not available: cannot connect")


async def test_migrate_then_token_prints_the_token_alone(empty_database_url: str) -> None:
    environ = NOWHERE | {"SIGNAGED_DATABASE__URL": empty_database_url}
    assert json.loads((await signaged("migrate", "--json", environ=environ)).out)["applied"][0] == "0001_initial.sql"
    assert (await signaged("migrate", environ=environ)).out == "the schema is up to date\n"
    made = await signaged("token", "create", "--role", "operator", "--name", "me", environ=environ)
    assert (made.code, made.err) == (0, "")
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}\n", made.out)
    whole = json.loads((await signaged("token", "create", "--role", "platform_admin", "--json", environ=environ)).out)
    assert set(whole) == {"id", "token"}


async def test_token_for_a_tenant_that_is_not_there_is_64(database_url: str, connection: Tx) -> None:
    environ = NOWHERE | {"SIGNAGED_DATABASE__URL": database_url}
    nobody = "00000000-0000-7000-8000-000000000001"
    ended = await signaged("token", "create", "--role", "advertiser", "--tenant", nobody, environ=environ)
    assert (ended.code, ended.err) == (64, f"signaged: there is no tenant {nobody}\nTry: signaged --help\n")
    assert await connection.fetchval("SELECT count(*) FROM api_tokens") == 0


async def test_newer_schema_is_78(database_url: str, owner_connection: Tx) -> None:
    await owner_connection.execute("INSERT INTO schema_migrations VALUES ('9999_later.sql', 'x')")
    ended = await signaged("migrate", environ=NOWHERE | {"SIGNAGED_DATABASE__URL": database_url})
    assert (ended.code, ended.err) == (78, "signaged: the schema is newer than this program: it has 9999_later.sql\n")


async def test_version_tells_all_that_matters() -> None:
    told = json.loads((await signaged("version", "--json")).out)
    assert set(told) == {"version", "python", "tzdata"}
    assert (await signaged("--version")).out.strip() == told["version"]
