"""A report to one HTML page that answers where quality is lost: without scripts, fonts or links, for light and dark screens."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING

from shortlist.evaluation.diagnosis import Example, Listed
from shortlist.evaluation.page_plots import figures
from shortlist.evaluation.page_style import STYLE
from shortlist.evaluation.report_text import figure, headline

if TYPE_CHECKING:
    from shortlist.evaluation.report import Estimate, Report, Segment, Stage


def to_html(report: Report) -> str:
    """The whole page."""
    sections = [_head(report)]
    if report.stages:
        sections += [_funnel(report), _stages_by_segment(report)]
    if report.segments:
        sections.append(_segments(report))
    if report.diagnosis is not None:
        plots = "".join(html for _, html in figures(report.diagnosis))
        sections.append(_section("closer", "A closer look", f'<div class="plots">{plots}</div>'))
        sections.append(_examples(report.diagnosis.examples))
    sections.append(_about(report))
    body = "\n".join(section for section in sections if section)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, '
        f'initial-scale=1"><title>Where quality is lost</title><style>{STYLE}</style></head>\n'
        f"<body><main>\n{body}\n</main></body></html>\n"
    )


def _head(report: Report) -> str:
    tiles = "".join(
        f"<div class=tile><span>{escape(found.metric)}</span><b>{figure(found.value)}</b><span>{_interval(found)}</span></div>"
        for found in report.metrics
    )
    if report.ms_per_request is not None:
        steps = ", ".join(f"{step} {ms:.2g}" for step, ms in report.ms_per_step.items() if step != "exact search")
        tiles += (
            f"<div class=tile><span>ms a request, in batches</span><b>{report.ms_per_request:.3g}</b>"
            f"<span>{escape(steps)}</span></div>"
        )
    title = "Where quality is lost" if report.stages else "Evaluation"
    lead = f'<p class="lead">{escape(_verdict(report.stages))}</p>' if report.stages else ""
    return f'<h1>{title}</h1><p class="soft">{escape(headline(report))}</p>{lead}<div class="tiles">{tiles}</div>'


def _verdict(stages: Sequence[Stage]) -> str:
    """Where most held-out items are lost, in words."""
    first, last = stages[0], stages[-1]
    drops = [(before.targets - after.targets, after) for before, after in pairwise(stages)]
    most, where = max(drops, key=lambda drop: drop[0])
    text = f"Of {first.targets:,} held-out items, {last.targets:,} are in the final lists ({last.meaning})."
    if most > 0:
        text += f" Most are lost at the step “{where.meaning}”: {most:,}, {most / first.targets:.0%} of all."
    return text


def _funnel(report: Report) -> str:
    first, rows = report.stages[0].targets, []
    before = first
    for stage in report.stages:
        change = stage.targets - before
        before = stage.targets
        moved = "" if not change else f'<span class="{"lost" if change < 0 else "kept"}">{change:+,}</span>'
        width = 100 * stage.targets / first if first else 0
        rows.append(
            f'<tr><th scope="row">{escape(stage.meaning)}</th>'
            f'<td class="held"><i style="width:{width:.1f}%"></i><b>{stage.targets:,}</b></td><td>{moved}</td>'
            f"<td>{_value(stage.recall)}</td><td>{'' if stage.ndcg is None else _value(stage.ndcg)}</td>"
            f'<td class="wide">{"" if stage.ms is None else f"{stage.ms:.3g}"}</td></tr>'
        )
    ndcg = next((stage.ndcg.metric for stage in report.stages if stage.ndcg is not None), "ndcg")
    head = "".join(
        f"<th{extra}>{escape(cell)}</th>"
        for cell, extra in (
            ("stage", ""), ("held-out items", ""), ("change", ""), ("recall", ""), (ndcg, ""), ("ms a request", ' class="wide"'),
        )
    )  # fmt: skip
    notes = "".join(f'<p class="soft small">{escape(note)}</p>' for note in report.stage_notes)
    text = (
        "How many of the items that users went on to take are still there after each step. Recall and NDCG are means over "
        f"{report.unit}; ± is half the width of the 95 % bootstrap interval. Filters act inside the search, before its cut."
    )
    table = f'<div class="scroll"><table><tr>{head}</tr>{"".join(rows)}</table></div>'
    return _section("funnel", "The funnel", f'<p class="soft">{text}</p>{table}{notes}')


def _stages_by_segment(report: Report) -> str:
    segments = [segment for segment in report.segments if segment.stages]
    if not segments:
        return ""
    head = "<th>stage</th>" + "".join(
        f"<th>{escape(segment.name)}<br>{escape(segment.of)}</th>" for segment in segments
    )
    rows = "".join(
        f'<tr><th scope="row">{escape(stage.meaning)}</th>'
        + "".join(_cell(segment.stages[number], is_first=number == 0) for segment in segments)
        + "</tr>"
        for number, stage in enumerate(report.stages)
    )
    text = f"The share of held-out items that each stage holds (recall, a mean over {report.unit}), by who took them and by which they are."
    table = f'<div class="scroll"><table><tr>{head}</tr>{rows}</table></div>'
    return _section("stages", "The funnel by segment", f'<p class="soft">{escape(text)}</p>{table}')


def _cell(stage: Stage, *, is_first: bool) -> str:
    return f"<td>{stage.targets:,}</td>" if is_first else f"<td>{_value(stage.recall)}</td>"


def _segments(report: Report) -> str:
    names = list(dict.fromkeys(found.metric for segment in report.segments for found in segment.metrics))
    head = f"<th>segment</th><th>{escape(report.unit)}</th>" + "".join(f"<th>{escape(name)}</th>" for name in names)

    def row(segment: Segment) -> str:
        values = {found.metric: _value(found) for found in segment.metrics}
        cells = "".join(f"<td>{values.get(name, '')}</td>" for name in names)
        label = f"{escape(segment.name)} {escape(segment.of)} <small class=soft>{escape(segment.meaning)}</small>"
        return f'<tr><th scope="row">{label}</th><td>{segment.num_users:,}</td>{cells}</tr>'

    rows = "".join(map(row, report.segments))
    return _section("segments", "Metrics by segment", f'<div class="scroll"><table><tr>{head}</tr>{rows}</table></div>')


def _examples(examples: Sequence[Example]) -> str:
    if not examples:
        return ""
    cards = "".join(map(_card, examples))
    text = "Drawn at random from each segment. Green: the user went on to take it."
    return _section("examples", "Examples", f'<p class="soft">{text}</p><div class="cards">{cards}</div>')


def _card(example: Example) -> str:
    taken = "".join(f"<li>{escape(title)}</li>" for title in example.history) or "<li>nothing</li>"
    more = example.num_held_out - len(example.held_out)
    fates = "".join(
        f'<li{" class=hit" if fate.startswith("found") else ""}>{escape(title)} <span class="soft">· {escape(fate)}</span></li>'
        for title, fate in example.held_out
    ) + (f'<li class="soft">and {more:,} more</li>' if more else "")
    parts = [("Took before, newest first", f"<ul>{taken}</ul>")]
    if example.after is None:
        parts.append(("Shown", _list(example.before)))
    else:
        parts += [("Before re-ranking", _list(example.before)), ("After re-ranking", _list(example.after))]
    parts.append(("Went on to take", f"<ul>{fates}</ul>"))
    columns = "".join(f"<div><h4>{title}</h4>{body}</div>" for title, body in parts)
    known = f"{example.num_known:,} known event{'' if example.num_known == 1 else 's'}"
    return (
        f'<article class="card"><h3>{escape(example.user)} <span class="soft">· {escape(example.segment)}, {known}</span></h3>'
        f'<div class="columns">{columns}</div></article>'
    )


def _list(listed: Sequence[Listed]) -> str:
    rows = "".join(
        f"<li{' class=hit' if one.is_hit else ''}>{escape(one.title)}"
        + (f' <span class="soft small">{one.moved:+d}</span>' if one.moved else "")
        + "</li>"
        for one in listed
    )
    return f"<ol>{rows}</ol>"


def _about(report: Report) -> str:
    facts = {} if report.diagnosis is None else report.diagnosis.facts
    known = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())
    notes = "".join(f"<li>{escape(note)}</li>" for note in report.notes)
    if not known and not notes:
        return ""
    body = (f"<dl>{known}</dl>" if known else "") + (f"<ul class=small>{notes}</ul>" if notes else "")
    return _section("about", "What was judged", body)


def _section(name: str, title: str, body: str) -> str:
    return f'<section id="{name}"><h2>{escape(title)}</h2>{body}</section>'


def _value(found: Estimate) -> str:
    """A figure, and in small type half the width of its interval, whose ends are in the tooltip."""
    ends = _interval(found)
    if not ends or found.low is None or found.high is None:
        return figure(found.value)
    return f'{figure(found.value)}<small title="{ends}">±{(found.high - found.low) / 2:.4f}</small>'


def _interval(found: Estimate) -> str:
    return (
        ""
        if found.low is None or found.high is None or found.low == found.high
        else f"{found.low:.4f} to {found.high:.4f}"
    )
