"""Figures of several workers: those of one that has ended do not linger."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import os, sys
from shortlist.service.metrics import Metrics, forget_ended
forget_ended()
metrics = Metrics()
metrics.revision.set(int(sys.argv[1]))
metrics.shed.inc()
print(metrics.text().decode())
"""


def _figures(folder: Path, revision: int) -> list[str]:
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    command = [sys.executable, "-c", PROGRAM, str(revision)]
    return subprocess.check_output(command, text=True, env=environment).splitlines()


def test_a_worker_that_has_ended_leaves_its_counts_and_not_how_things_were(tmp_path: Path) -> None:
    _figures(tmp_path, 3)
    said = _figures(tmp_path, 7)
    assert "shortlist_index_revision 7.0" in said
    assert "shortlist_shed_total 2.0" in said
