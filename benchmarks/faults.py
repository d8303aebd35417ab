"""The long form of every test in ``tests/faults``: what it came to, in how many seconds, and the figures that it noted.

    python benchmarks/faults.py [NAME ...]

A NAME is that of a file without ``test_``, such as ``killed_server``; without any, all files run, one after the other: more than
an hour. Writes ``benchmarks/results/faults.json`` with the machine's facts after each file; what the others came to stays there.
Ends with 1 if a test failed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from shortlist.machine import facts

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "faults.json"
TESTS = ROOT / "tests" / "faults"


class Noted:
    """A plugin of pytest that keeps what each test came to."""

    def __init__(self) -> None:
        self.tests: dict[str, dict[str, Any]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the outcome of a test, and of its preparation or cleaning up if that went wrong."""
        name = report.nodeid.partition("::")[2]
        if report.when == "call" or not report.passed:
            found = {"outcome": report.outcome, "seconds": round(report.duration, 1)}
            if not report.passed:
                why = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
                found["why"] = why.replace(f"{ROOT}/", "")[-500:]
            self.tests[name] = found | dict(report.user_properties)


def main() -> None:
    known = sorted(file.stem.removeprefix("test_") for file in TESTS.glob("test_*.py"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(known)}")
    names = parser.parse_args().names or known
    if unknown := sorted(set(names) - set(known)):
        parser.error(f"there is no {unknown[0]}: choose of {', '.join(known)}")
    os.environ["SHORTLIST_FAULTS"] = "long"
    failed = False
    for name in names:
        noted = Noted()
        failed |= pytest.main(["-q", str(TESTS / f"test_{name}.py")], plugins=[noted]) != pytest.ExitCode.OK
        results = json.loads(RESULTS.read_text())["results"] if RESULTS.exists() else {}
        results[name] = {"load_average": round(os.getloadavg()[0], 1), "tests": noted.tests}
        found = {"machine": facts(), "results": {each: results[each] for each in known if each in results}}
        RESULTS.write_text(json.dumps(found, indent=2) + "\n")
    sys.exit(failed)


if __name__ == "__main__":
    main()
