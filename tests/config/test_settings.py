"""Settings: the shipped file tells every key and default, faults name key and line, sources go by precedence."""

import tomllib
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from config.settings import Settings
from config.sources import ConfigError, hidden, load, plain, redacted

HERE = Path(__file__).parent
SHIPPED = HERE.parents[1] / "config" / "signaged.toml"
NEEDED = {
    "SIGNAGED_DATABASE__URL": "postgresql://user:secret@db/signaged?password=other&sslmode=require",
    "SIGNAGED_KAFKA__BOOTSTRAP_SERVERS": "a:9092, b:9092",
}
NO_DEFAULT = {("database", "owner_url"), ("http", "public_url")}


def test_shipped_file_holds_every_setting_with_its_default() -> None:
    written = tomllib.loads(SHIPPED.read_text())
    settings = load(SHIPPED, {})
    told = plain(settings)
    for section in NO_DEFAULT:
        assert told[section[0]].pop(section[1]) is None
        assert f"# {section[1]} = " in SHIPPED.read_text()
    assert written == told
    needed = {"database": {"url": written["database"]["url"]}, "kafka": {"bootstrap_servers": "127.0.0.1:9092"}}
    assert Settings.model_validate(needed) == settings


def test_every_setting_of_the_shipped_file_says_why() -> None:
    lines = SHIPPED.read_text().splitlines()
    pairs = [(above, line) for above, line in pairwise(lines) if " = " in line and not line.startswith("# ")]
    assert [line for above, line in pairs if not above.startswith("# ")] == []
    assert len(pairs) >= 50


@pytest.mark.parametrize("path", sorted((HERE / "testdata").glob("*.toml")), ids=lambda path: path.stem)
def test_bad_file_is_refused_with_line_and_key(path: Path) -> None:
    expected = [line.removeprefix("# fault: ") for line in path.read_text().splitlines() if "# fault: " in line]
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    assert [
        f"{fault.line} {fault.key}: {fault.reason}".replace(" : ", " ") for fault in caught.value.faults
    ] == expected
    assert str(caught.value).startswith(f"{path}:{expected[0].partition(' ')[0]}: ")


def test_environment_goes_before_credentials_before_file(tmp_path: Path) -> None:
    file = tmp_path / "signaged.toml"
    file.write_text('[smtp]\nurl = "smtp://file"\nsender = "file@x"\ntimeout = 1\n')
    (tmp_path / "smtp__url").write_text("smtp://user:word@credential\n")
    (tmp_path / "SIGNAGED_SMTP__SENDER").write_text("credential@x")
    (tmp_path / "tls.key").write_text("no setting")
    environ = {**NEEDED, "CREDENTIALS_DIRECTORY": str(tmp_path), "signaged_smtp__sender": "environment@x"}
    smtp = load(file, environ).smtp
    assert (smtp.url, smtp.sender, smtp.timeout) == (
        "smtp://user:word@credential",
        "environment@x",
        timedelta(seconds=1),
    )


@pytest.mark.parametrize("name", ["SIGNAGED_DATABASE__URLL", "SIGNAGED_DATABSE__URL", "SIGNAGED_DATABASE_URL"])
def test_unknown_variable_is_refused_by_name(name: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown key \\(environment variable {name}\\)"):
        load(None, {**NEEDED, name: "x"})


def test_values_are_read_from_text_as_from_toml() -> None:
    settings = load(
        None,
        {
            **NEEDED,
            "SIGNAGED_TICKER__RETRIES": "[1, 2.5]",
            "SIGNAGED_BOOKING__MIN_BUDGET": "0.01",
            "SIGNAGED_NOTICES__ENABLED": "off",
            "SIGNAGED_HTTP__LISTEN": "[::1]:0",
        },
    )
    assert settings.ticker.retries == (timedelta(seconds=1), timedelta(seconds=2.5))
    assert settings.booking.min_budget_micros == 10_000
    assert settings.notices.enabled is False
    assert (settings.http.listen.host, settings.http.listen.port) == ("::1", 0)
    assert settings.kafka.bootstrap_servers == "a:9092,b:9092"


def test_a_rate_card_is_read_from_tables_lists_and_text(tmp_path: Path) -> None:
    written = '{ category = "bakery", days = ["sat"], from = "22:00", to = "02:00", cpm = "8.00" }, { cpm = "6.50" }'
    tables = """
[[money.rates]]
category = "bakery"
days = ["sat"]
from = "22:00"
to = "02:00"
cpm = "8.00"
[[money.rates]]
cpm = "6.50"
"""
    file = tmp_path / "signaged.toml"
    for text, environ in (
        (tables, {}),
        (f"[money]\nrates = [{written}]", {}),
        ("", {"SIGNAGED_MONEY__RATES": f"[{written}]"}),
    ):
        file.write_text(text)
        first, second = load(file, NEEDED | environ).money.rates
        assert (first.category, first.cpm_micros) == ("bakery", 8_000_000)
        assert first.hours == {"days": ["sat"], "from": "22:00", "to": "02:00"}
        assert (second.category, second.cpm_micros, second.hours) == (None, 6_500_000, None)
    with pytest.raises(ConfigError, match=r"money.rates\[1\].cpm: is required"):
        load(None, NEEDED | {"SIGNAGED_MONEY__RATES": '[{cpm = "1.00"}, {}]'})


def test_no_password_is_shown() -> None:
    settings = load(None, NEEDED)
    assert redacted(settings)["database"]["url"] == "postgresql://user:***@db/signaged?password=***&sslmode=require"
    assert "secret" not in repr(settings)
    assert hidden("postgresql:///signaged?host=/run&password=secret") == "postgresql:///signaged?host=/run&password=***"
    with pytest.raises(ConfigError) as caught:
        load(None, {**NEEDED, "SIGNAGED_SMTP__URL": "ftp://user:secret@x"})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:p%40ss%2Fw%23rd@db/signaged?sslmode=verify-full",
        "postgresql://user@one:5432,two:5433/signaged?target_session_attrs=read-write",
        "postgresql:///signaged?host=/run/postgresql&user=me",
        "postgres://user@[::1]:5432/signaged",
    ],
)
def test_urls_of_every_kind_of_postgresql_are_taken(url: str) -> None:
    assert load(None, NEEDED | {"SIGNAGED_DATABASE__URL": url}).database.url == url


@pytest.mark.parametrize("password", ["se/cret", "se#cret", "se?cret", "se@cret", "se[cret"])
def test_password_that_is_not_encoded_is_told_so_and_not_shown(password: str) -> None:
    with pytest.raises(ConfigError, match="must be percent-encoded") as caught:
        load(None, NEEDED | {"SIGNAGED_DATABASE__URL": f"postgresql://user:{password}@db/signaged"})
    assert "cret" not in str(caught.value)
    assert "'se" not in str(caught.value)


def test_file_that_cannot_be_read_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load(tmp_path / "none.toml", {})
