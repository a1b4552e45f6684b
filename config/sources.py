"""Where settings come from (environment over systemd credentials over TOML file) and where a fault in them lies."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from config.settings import Settings

PREFIX = "SIGNAGED_"
TESTS = ("SIGNAGED_TEST_", "SIGNAGED_FAILPOINTS")  # a test run's own; no section is called so
Values = dict[str, Any]
_HEADER = re.compile(r"\s*\[{1,2}\s*([\w.\"'-]+?)\s*\]")
_SETTING = re.compile(r"\s*([\w.\"' -]+?)\s*=")

# what the operator did, in words of settings; other kinds of errors speak for themselves
REASONS = {
    "extra_forbidden": "unknown key",
    "missing": "is required",
    "model_type": "must be a section with keys",
    "model_attributes_type": "must be a section with keys",
    "literal_error": "must be {expected}",
    "string_pattern_mismatch": "must match {pattern}",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: the key (`section.key`), why, and the line when it stands in the file."""

    key: str
    reason: str
    line: int | None = None


class ConfigError(Exception):
    """Everything that is wrong with the configuration, at once."""

    def __init__(self, faults: list[Fault], path: Path | None = None) -> None:
        """Keep the faults and the file that was read."""
        self.faults = faults
        self.path = path
        super().__init__("\n".join(self._line(fault) for fault in faults))

    def _line(self, fault: Fault) -> str:
        where = f"{self.path}:{fault.line}: " if self.path and fault.line else f"{self.path}: " if self.path else ""
        return f"{where}{fault.key}: {fault.reason}" if fault.key else f"{where}{fault.reason}"


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Read all sources and check everything; raises ConfigError with every fault (SPEC 12).

    A setting is `SIGNAGED_SECTION__KEY` in the environment, a file `section__key` (or of the variable's name) in
    `$CREDENTIALS_DIRECTORY`, or `key` under `[section]` in the TOML file; the first that names it wins.
    """
    text = _text(path) if path else ""
    document = _parsed(text, path)
    secrets = dict(_credentials(environ))
    merged: Values = {"database": {}, "kafka": {}}  # named, so that what is missing is their key
    origins: dict[str, str] = {}
    _merge(merged, document)
    for given, name in ((secrets, "credential {}"), (_variables(environ), "environment variable {}")):
        for key, (variable, value) in given.items():
            section, _, rest = key.partition(".")
            _merge(merged, {section: {rest: value} if rest else value})
            origins[key] = name.format(variable)
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        faults = [_fault(details, text, origins) for details in error.errors(include_url=False)]
        raise ConfigError(sorted(faults, key=lambda fault: (fault.line or 0, fault.key)), path) from None


def plain(settings: Settings) -> Values:
    """Give the settings as they are written: durations in seconds, amounts as decimals, addresses as host:port."""
    return settings.model_dump(mode="json", by_alias=True)


def redacted(settings: Settings) -> Values:
    """Give the settings as they are written, the passwords in URLs hidden."""
    return {section: {key: _shown(value) for key, value in keys.items()} for section, keys in plain(settings).items()}


def hidden(url: str) -> str:
    """Give a URL with its passwords hidden."""
    parts = urlsplit(url)
    query = re.sub(r"(?i)(password=)[^&]*", r"\1***", parts.query)
    if parts.password is not None:
        credentials, _, host = parts.netloc.rpartition("@")
        url = url.replace(parts.netloc, f"{credentials.partition(':')[0]}:***@{host}", 1)
    return url.replace(f"?{parts.query}", f"?{query}", 1) if query else url


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError([Fault("", f"cannot be read: {error.strerror}")], path) from None
    except UnicodeDecodeError:
        raise ConfigError([Fault("", "is not UTF-8")], path) from None


def _parsed(text: str, path: Path | None) -> Values:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        match = re.search(r"line (\d+)", str(error))
        line = int(match[1]) if match else text.count("\n") + 1
        reason = re.sub(r" \(at .*\)$", "", str(error))
        raise ConfigError([Fault(_key_at(text, line), f"is no TOML: {reason}", line)], path) from None


def _key_at(text: str, number: int) -> str:
    """Name the key that a line of a file sets; empty when it sets none."""
    table, key = "", ""
    for line in text.splitlines()[:number]:
        found, setting = _HEADER.match(line), _SETTING.match(line)
        table = found[1].strip("\"'") if found else table
        key = re.sub(r"[\"' ]", "", setting[1]) if setting else ""
    return f"{table}.{key}" if table and key else key


def _variables(environ: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    return {
        name[len(PREFIX) :].lower().replace("__", ".", 1): (name, value)
        for name, value in environ.items()
        if name.upper().startswith(PREFIX) and not name.upper().startswith(TESTS)
    }


def _credentials(environ: Mapping[str, str]) -> Iterator[tuple[str, tuple[str, str]]]:
    folder = environ.get("CREDENTIALS_DIRECTORY")
    for file in sorted(Path(folder).iterdir()) if folder and Path(folder).is_dir() else []:
        key = file.name.lower().removeprefix(PREFIX.lower())
        if "__" in key and file.is_file():  # other credentials of the unit are not ours to judge
            yield key.replace("__", ".", 1), (file.name, file.read_text(encoding="utf-8").strip())


def _merge(onto: Values, given: Values) -> None:
    for section, value in given.items():
        known = onto.get(section)
        onto[section] = {**known, **value} if isinstance(known, dict) and isinstance(value, dict) else value


def _fault(details: ErrorDetails, text: str, origins: Mapping[str, str]) -> Fault:
    path = [str(part) for part in details["loc"][:2]]
    key, inner, line = ".".join(path), "", _line_of(text, path[0], "".join(path[1:]))
    match details["loc"]:
        case (section, name, int(entry), str(field), *_):  # of a list of tables
            inner = f"[{entry}].{field}"
            line = _line_of(text, f"{section}.{name}", field, entry) or line
    if line is None and key not in origins:  # a section that only the environment names
        key = next((name for name in origins if name.startswith(f"{key}.")), key)
    if key in origins:
        return Fault(key + inner, f"{_reason(details)} ({origins[key]})")
    return Fault(key + inner, _reason(details), line)


def _reason(details: ErrorDetails) -> str:
    template = REASONS.get(details["type"])
    if template is None:
        return details["msg"].removeprefix("Value error, ")
    return template.format(**details.get("ctx", {}))


def _line_of(text: str, table: str, key: str = "", entry: int = 0) -> int | None:
    """Find the line where a key, or failing that its table, is set; TOML parsers tell no positions.

    `entry` counts the headers of a list of tables from 0.
    """
    current, header, seen = "", None, -1
    for number, line in enumerate(text.splitlines(), 1):
        if match := _HEADER.match(line):
            current = match[1].strip("\"'")
            seen += current == table
            header = number if current == table and seen == entry else header
        elif match := _SETTING.match(line):
            name = re.sub(r"[\"' ]", "", match[1])
            full = f"{current}.{name}" if current else name
            here = current != table or seen == entry
            if (full == f"{table}.{key}" and here) or (not current and name == table):
                return number
    return header


def _shown(value: object) -> object:
    return hidden(value) if isinstance(value, str) and "://" in value else value
