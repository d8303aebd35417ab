"""A report to an aligned table that fits a terminal of 100 columns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shortlist.evaluation.report import Estimate, Report

WIDTH = 100


def to_text(report: Report) -> str:
    """The report as it is printed."""
    blocks = [[headline(report)], table(*metric_rows(report))]
    for header, rows in segment_tables(report):
        blocks.append(table(header, rows))
    if report.stages:
        blocks.append(["Where held-out items are lost:", *table(*stage_rows(report)), *report.stage_notes])
        blocks += [table(*rows) for rows in stage_segment_rows(report)]
    if report.notes:
        blocks.append([f"Note: {note}" for note in report.notes])
    return "\n\n".join("\n".join(lines) for lines in blocks)


def headline(report: Report) -> str:
    """What was evaluated, how, and how long it took."""
    speed = "" if report.ms_per_request is None else f", {report.ms_per_request:.3g} ms a request"
    return f"{report.num_users:,} {report.unit}, {report.protocol} ({report.seconds:.2f} s{speed})"


def metric_rows(report: Report) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the metrics over all users."""
    rows = [[found.metric, figure(found.value), interval(found.low, found.high)] for found in report.metrics]
    return ["metric", "value", "95% interval"], rows


def segment_tables(report: Report) -> list[tuple[list[str], list[list[str]]]]:
    """Header and rows per segment, in as many tables as the metrics need to fit."""
    labels = [f"{segment.name} {segment.of}: {segment.meaning}" for segment in report.segments]
    values = [{found.metric: figure(found.value) for found in segment.metrics} for segment in report.segments]
    names = list(dict.fromkeys(name for row in values for name in row))
    room = WIDTH - max(map(len, labels), default=0) - len(f"  {report.num_users:,}")
    tables = []
    for shown in _fitting(names, room):
        rows = [
            [label, f"{segment.num_users:,}", *(row.get(name, "") for name in shown)]
            for label, segment, row in zip(labels, report.segments, values, strict=True)
        ]
        tables.append((["segment", report.unit, *shown], rows))
    return tables


def _fitting(names: Sequence[str], room: int) -> list[list[str]]:
    """The names in groups whose columns fit into ``room`` characters."""
    groups: list[list[str]] = []
    left = 0
    for name in names:
        width = 2 + max(len(name), len("0.0000"))
        if width > left:
            groups.append([])
            left = room
        groups[-1].append(name)
        left -= width
    return groups


def stage_rows(report: Report) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the funnel."""
    rows = [
        [
            stage.meaning,
            f"{stage.targets:,}",
            _share(stage.recall),
            "" if stage.ndcg is None else _share(stage.ndcg),
            "" if stage.ms is None else f"{stage.ms:.3g}",
        ]
        for stage in report.stages
    ]
    ndcg = next((stage.ndcg.metric for stage in report.stages if stage.ndcg is not None), "ndcg")
    return ["stage", "items", "share held", ndcg, "ms"], rows


def stage_segment_rows(report: Report) -> list[tuple[list[str], list[list[str]]]]:
    """Header and rows of the share that each stage holds, a column for each segment of users and of items."""
    tables = []
    for of, whose in (("users", "held-out items of users who are"), ("items", "held-out items that are")):
        segments = [segment for segment in report.segments if segment.of == of and segment.stages]
        if segments:
            rows = [
                [stage.meaning, *(figure(segment.stages[number].recall.value) for segment in segments)]
                for number, stage in enumerate(report.stages)
            ]
            counts = [f"{segment.stages[0].targets:,}" for segment in segments]
            header = [whose, *(segment.name for segment in segments)]
            tables.append((header, [["in all", *counts], *rows[1:]]))
    return tables


def _share(estimate: Estimate) -> str:
    """A value with half of its interval's width."""
    if estimate.low is None or estimate.high is None:
        return figure(estimate.value)
    return f"{figure(estimate.value)} ±{(estimate.high - estimate.low) / 2:.4f}"


def figure(value: float) -> str:
    """Four decimals, or a dash for a figure that does not exist."""
    return "-" if math.isnan(value) else f"{value:.4f}"


def interval(low: float | None, high: float | None) -> str:
    """The two ends, or nothing."""
    return "" if low is None or high is None else f"{low:.4f} to {high:.4f}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines with the first column to the left and the others to the right."""
    columns = list(zip(header, *rows, strict=True))
    widths = [max(len(cell) for cell in column) for column in columns]
    lines = []
    for row in (header, *rows):
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join([row[0].ljust(widths[0]), *cells[1:]]).rstrip())
    return lines
