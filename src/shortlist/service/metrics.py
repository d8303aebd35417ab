"""What a service counts and times, for Prometheus; several workers are added up through files that they share."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

SHARED = "PROMETHEUS_MULTIPROC_DIR"  # the library's name for the folder of those files
_SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The figures of one worker."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._registry = registry
        self.requests = Counter(
            "shortlist_requests_total", "Requests by route and status.", ["route", "status"], registry=registry
        )
        self.seconds = Histogram(
            "shortlist_request_seconds", "Time to answer, by route.", ["route"], buckets=_SECONDS, registry=registry
        )
        self.stages = Histogram(
            "shortlist_stage_seconds", "Time of each step of a batch.", ["stage"], buckets=_SECONDS, registry=registry
        )
        self.together = Histogram(
            "shortlist_batch_requests", "Requests answered together.", buckets=_SIZES, registry=registry
        )
        self.sources = Counter(
            "shortlist_answers_total", "Answers by what they were made from.", ["source"], registry=registry
        )
        self.shed = Counter("shortlist_shed_total", "Requests told to come again.", registry=registry)
        self.degraded = Counter("shortlist_degraded_total", "Answers without recent events.", registry=registry)
        self.events = Counter(
            "shortlist_events_total", "Events by what became of them.", ["outcome"], registry=registry
        )
        self.swaps = Gauge(
            "shortlist_swaps", "Bundles swapped in since the start.", registry=registry, multiprocess_mode="max"
        )
        self.refusals = Gauge(
            "shortlist_refused_bundles", "Bundles that could not be loaded.", registry=registry, multiprocess_mode="max"
        )
        self.waiting = Gauge(
            "shortlist_waiting_requests", "Requests that wait.", registry=registry, multiprocess_mode="livesum"
        )
        self.ages = Gauge(
            "shortlist_age_seconds", "Ages of what answers.", ["of"], registry=registry, multiprocess_mode="livemax"
        )
        self.items = Gauge("shortlist_items", "Items of the catalogue.", registry=registry, multiprocess_mode="livemax")
        self.revision = Gauge(
            "shortlist_index_revision", "The last change of items that answers know.", registry=registry, multiprocess_mode="livemin"
        )  # fmt: skip

        self._of_stage: dict[str, Histogram] = {}  # to look one up takes longer than to add to it

    def batch(self, seconds: Mapping[str, float], size: int) -> None:
        """Note one batch of answers."""
        for stage, each in seconds.items():
            if stage not in self._of_stage:
                self._of_stage[stage] = self.stages.labels(stage)
            self._of_stage[stage].observe(each)
        self.together.observe(size)

    def text(self) -> bytes:
        """All figures as Prometheus reads them: of all workers where there are several."""
        registry = self._registry
        if SHARED in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)


def forget_ended() -> None:
    """Leave out what workers that have ended said last of how things are; what they counted stays."""
    for file in Path(os.environ[SHARED]).glob("gauge_live*_*.db"):
        process = int(file.stem.rpartition("_")[2])
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            mark_process_dead(process)  # type: ignore[no-untyped-call]
