"""Runs the benchmarks beside this file, or those named, and writes what they print into BENCHMARKS.md."""

import argparse
import ast
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPORT = HERE.parents[1] / "BENCHMARKS.md"
HEAD = """# Benchmarks

Written by `make bench` on {date:%Y-%m-%d}: {cores} cores ({machine}), Python {python}. Each part measures its yardstick
in the same run, by turns, and tells medians; a ratio is ours to the yardstick's, and 1.00 is as fast.
"""


def main() -> int:
    parts = sorted(path.stem for path in HERE.glob("*.py") if path.stem != "run")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=parts, help=f"which to run: {' '.join(parts)} (all)")
    sections, failed = {}, []
    for part in parser.parse_args().parts:
        print(f"== {part}", file=sys.stderr, flush=True)
        run = subprocess.run([sys.executable, str(HERE / f"{part}.py")], stdout=subprocess.PIPE, text=True, check=False)
        print(run.stdout, flush=True)
        if run.returncode:
            failed.append(part)
        else:
            sections[part] = run.stdout.strip()
    write(sections, kept(REPORT))
    if failed:
        print(f"failed: {' '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def kept(report: Path) -> dict[str, str]:
    """The sections of an earlier report, for the parts that do not run now."""
    if not report.exists():
        return {}
    sections = report.read_text(encoding="utf-8").split("\n## ")[1:]
    return {section.partition("\n")[0].strip(): section.partition("\n")[2].strip() for section in sections}


def write(sections: dict[str, str], earlier: dict[str, str]) -> None:
    head = HEAD.format(
        date=datetime.now(UTC), cores=os.cpu_count(), machine=platform.machine(), python=platform.python_version()
    )
    told = earlier | {part: f"{about(part)}\n\n{rows}" for part, rows in sections.items()}
    text = [head, *(f"## {part}\n\n{told[part]}\n" for part in sorted(told))]
    REPORT.write_text("\n".join(text), encoding="utf-8")


def about(part: str) -> str:
    """What the part measures: its docstring."""
    return ast.get_docstring(ast.parse((HERE / f"{part}.py").read_text(encoding="utf-8"))) or ""


if __name__ == "__main__":
    sys.exit(main())
