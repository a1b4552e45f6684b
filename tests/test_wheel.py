"""What an operator installs: one wheel whose names are ours alone, with its data, that runs far from the source."""

import os
import subprocess
import sys
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {"daemon", "devices", "playlists", "config"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    [path] = folder.glob("*.whl")
    return path


def test_holds_our_packages_and_nothing_else(wheel: Path) -> None:
    names = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert names - {name for name in names if name.endswith(".dist-info")} == PACKAGES


def test_holds_every_file_of_the_packages(wheel: Path) -> None:
    here = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert here - set(zipfile.ZipFile(wheel).namelist()) == set()


def test_no_other_installed_distribution_has_one_of_our_names() -> None:
    owners = {name: set(distributions) for name, distributions in packages_distributions().items() if name in PACKAGES}
    assert set().union(*owners.values()) <= {"signaged"}


def test_cannot_be_uploaded_by_mistake(wheel: Path) -> None:
    [metadata] = [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith("/METADATA")]
    assert b"Classifier: Private :: Do Not Upload" in zipfile.ZipFile(wheel).read(metadata)


def test_runs_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    program = (
        "import sys, daemon.cli; assert daemon.cli.__file__.startswith(sys.argv.pop(1)), daemon.cli.__file__;"
        "from daemon.cli import main; sys.exit(main())"
    )
    outcome = subprocess.run(
        [sys.executable, "-P", "-c", program, str(tmp_path), "config", "check", str(tmp_path / "config/signaged.toml")],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
