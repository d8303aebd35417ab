"""The parts of a diagnosis to figures: a plot, its legend, and a sentence that reads it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from shortlist.contracts import SearchSpeed
from shortlist.evaluation.diagnosis import DepthCurve, Diagnosis, ItemMap, PopularityBias, Reliability, TrainingCurve
from shortlist.evaluation.plots import Axis, Line, axis, grouped_bars, lines, scatter

MOST_COLOURS = 8


def figures(found: Diagnosis) -> list[tuple[str, str]]:
    """Each figure's name and HTML, in the order of the page; one without its data says why."""
    drawn = {
        "depth": None if found.depth is None else _depth(found.depth),
        "speed": _speed(found.speed, found.speed_k) if found.speed else None,
        "reliability": None if found.reliability is None else _reliability(found.reliability),
        "popularity": None if found.popularity is None else _popularity(found.popularity),
        "training": "".join(map(_training, found.training)) or None,
        "items": None if found.items is None else _items(found.items),
    }
    titles = {
        "depth": "Recall against candidates",
        "speed": "Recall against speed of the index",
        "reliability": "Calibration of the ranker",
        "popularity": "Popularity bias",
        "training": "Training",
        "items": "Map of the items",
    }
    return [
        (name, html or _figure(titles[name], "", [], found.reasons.get(name, "Not measured.")))
        for name, html in drawn.items()
    ]


def percent(share: float) -> str:
    """A share as per cent, with a decimal where it is small."""
    return "-" if math.isnan(share) else f"{share:.0%}" if share in (0, 1) else f"{share:.1%}"


def _count(number: float) -> str:
    """A whole number that is short: 200k, 5,000."""
    return f"{number / 1000:,.0f}k" if number >= 10_000 else f"{number:,.0f}"


def _depth(curve: DepthCurve) -> str:
    named = [("exact search", curve.exact, 0, False)]
    if curve.served is not None:
        named.append(("the index", curve.served, 1, True))
    drawn = [
        Line(
            name,
            list(zip(map(float, curve.sizes), shares, strict=True)),
            [f"{name}, {size:,} candidates: {percent(share)}" for size, share in zip(curve.sizes, shares, strict=True)],
            colour,
            is_dashed=is_dashed,
        )
        for name, shares, colour, is_dashed in named
    ]
    here = curve.sizes.index(curve.candidates)
    shares = curve.exact if curve.served is None else curve.served
    text = (
        f"With {curve.candidates:,} candidates, {percent(shares[here])} of a user's held-out items are found. "
        f"With {curve.sizes[-1]:,} it would be {percent(shares[-1])}: what no re-ranking of fewer can bring back."
    )
    if curve.served is not None:
        cost = 100 * (curve.exact[here] - curve.served[here])
        text += f" The index costs {cost:.2f} points of it." if cost >= 0.005 else " The index loses none of it."
    title = "Recall against candidates"
    x = axis("candidates", [float(size) for size in curve.sizes], is_log=True, format=_count)
    y = axis("share of held-out items", [*shares, *curve.exact], from_zero=True, format="{:.0%}".format)
    plot = lines("depth", title, text, drawn, x, y, marks=[(float(curve.candidates), f"served: {curve.candidates:,}")])
    return _figure(title, plot, [(line.name, line.colour) for line in drawn], text)


def _speed(points: Sequence[SearchSpeed], k: int) -> str:
    exact = next((point for point in points if point.setting == "exact"), points[0])
    used = next((point for point in points if point.is_used), exact)
    graph = sorted((point for point in points if point is not exact), key=lambda point: point.queries_per_s)
    is_exact = used is exact

    def tips(some: Sequence[SearchSpeed]) -> list[str]:
        return [f"{one.setting}: recall {one.recall:.3f}, {one.queries_per_s:,.0f} queries/s" for one in some]

    drawn = [Line("exact search", [(exact.queries_per_s, exact.recall)], tips([exact]), 0)]
    if graph:
        name = "a graph (HNSW), for comparison" if is_exact else "the index, by its effort"
        drawn.append(Line(name, [(one.queries_per_s, one.recall) for one in graph], tips(graph), 1))
    if not is_exact:
        drawn.append(Line("as it serves", [(used.queries_per_s, used.recall)], tips([used]), 2))
    ratio = used.queries_per_s / exact.queries_per_s
    text = (
        f"The index serves with {percent(used.recall)} of the exact best {k}, at {used.queries_per_s:,.0f} queries a second "
        f"in one batch: {ratio:.2g} times exact search."
    )
    if is_exact:
        text = f"The index is exact and answers {used.queries_per_s:,.0f} queries a second in one batch."
        good = [point for point in graph if point.recall >= 0.95]
        if good:
            best = max(good, key=lambda point: point.queries_per_s)
            text += (
                f" A graph with {percent(best.recall)} of the best {k} would answer {best.queries_per_s:,.0f}, "
                f"{best.queries_per_s / used.queries_per_s:.2g} times as many."
            )
    title = "Recall against speed of the index"
    x = axis("queries a second", [point.queries_per_s for point in points], is_log=True, format=_count)
    least = min(0.9, *(point.recall for point in points))
    y = Axis(f"part of the exact best {k}", least - 0.005, 1.005, format="{:.0%}".format)
    return _figure(title, lines("speed", title, text, drawn, x, y), [(line.name, line.colour) for line in drawn], text)


def _reliability(curve: Reliability) -> str:
    tips = [
        f"predicted {percent(predicted)}, came true {percent(observed)} ({percent(low)} to {percent(high)})"
        for predicted, observed, low, high in zip(curve.predicted, curve.observed, curve.low, curve.high, strict=True)
    ]
    spans = list(zip(curve.low, curve.high, strict=True))
    drawn = Line(
        "ten groups by prediction", list(zip(curve.predicted, curve.observed, strict=True)), tips, 0, spans=spans
    )
    text = (
        f"Predicted is {curve.of}. Over {curve.num_predictions:,} predictions the mean is {percent(curve.mean_predicted)}, "
        f"and {percent(curve.mean_observed)} came true; a group lies {100 * curve.error:.1f} points from the diagonal on average. "
        "Being off does not change the order of a list."
    )
    title = "Calibration of the ranker"
    values = [*curve.predicted, *curve.observed]
    x = axis("predicted", values, from_zero=True, format="{:.0%}".format if max(values) > 0.05 else "{:.1%}".format)
    y = axis("came true", [*values, *curve.high], from_zero=True, format=x.format)
    legend = [(drawn.name, 0), ("dotted: as predicted", 7)]
    return _figure(title, lines("reliability", title, text, [drawn], x, y, diagonal=True), legend, text)


def _popularity(bias: PopularityBias) -> str:
    text = (
        f"The most popular tenth of the items gets {percent(bias.shown[0])} of the recommendations and "
        f"{percent(bias.held_out[0])} of what users took. {percent(bias.coverage)} of the catalogue is recommended to anyone "
        f"(Gini {bias.gini_shown:.2f}; of what users took {bias.gini_held_out:.2f})."
    )
    title = "Popularity bias"
    groups = [(f"recommended in the top {bias.k}", 0, bias.shown), ("taken (held out)", 1, bias.held_out)]
    labels = [str(number) for number in range(1, len(bias.shown) + 1)]
    y = axis("share", [*bias.shown, *bias.held_out], from_zero=True, format="{:.0%}".format)
    plot = grouped_bars("popularity", title, text, labels, groups, "tenths of the items, the most popular first", y)
    return _figure(title, plot, [(name, colour) for name, colour, _ in groups], text)


def _training(curve: TrainingCurve) -> str:
    epochs = [float(number) for number in range(1, len(curve.loss) + 1)]
    has_values = curve.metric is not None and not all(map(math.isnan, curve.values))
    shown = curve.values if has_values else curve.loss
    label = curve.metric if has_values and curve.metric is not None else "loss"
    known = [(epoch, value) for epoch, value in zip(epochs, shown, strict=True) if not math.isnan(value)]
    losses = dict(zip(epochs, curve.loss, strict=True))
    tips = [f"epoch {epoch:g}: {label} {value:.4g}, loss {losses[epoch]:.4g}" for epoch, value in known]
    drawn = [Line(f"{label} (validation)" if has_values else "loss", known, tips, 0)]
    y = axis(label, [value for _, value in known])
    if has_values and len(set(curve.loss)) > 1:
        low, high = min(curve.loss), max(curve.loss)
        scaled = [
            (epoch, y.low + (y.high - y.low) * (0.05 + 0.9 * (loss - low) / (high - low)))
            for epoch, loss in losses.items()
        ]
        name = f"loss, {curve.loss[0]:.3g} to {curve.loss[-1]:.3g} (own scale)"
        drawn.append(
            Line(name, scaled, [f"epoch {epoch:g}: loss {loss:.4g}" for epoch, loss in losses.items()], 1, True)
        )
    title = f"Training of the {curve.part} ({curve.model})"
    text = f"Epoch {curve.best_epoch} of {len(epochs)} was kept"
    if has_values:
        text += f", with {label} {curve.values[curve.best_epoch - 1]:.4f}"
    text += f"; training took {curve.seconds:,.0f} s."
    x = axis("epoch", [*epochs, 1.0, 2.0], format="{:.3g}".format)
    marks = [(float(curve.best_epoch), "kept")]
    plot = lines(f"training-{curve.part}", title, text, drawn, x, y, marks=marks)
    return _figure(title, plot, [(line.name, line.colour) for line in drawn], text)


def _items(items: ItemMap) -> str:
    last = MOST_COLOURS - 1
    rest = len(items.groups) - 1 if items.groups[-1] == "other" else None
    colours = [last if group == rest else min(group, last) for group in items.group]
    used = sorted(set(items.group))
    tips = [f"{title} ({items.groups[group]})" for title, group in zip(items.titles, items.group, strict=True)]
    title = "Map of the items"
    text = (
        f"The {len(items.titles):,} most popular of {items.num_items:,} items, coloured by {items.by}. Near each other are those "
        f"that the retriever finds for the same users; the plane shows {percent(items.share)} of how their directions differ."
    )
    plot = scatter("items", title, text, list(zip(items.x, items.y, strict=True)), colours, tips)
    legend = [(items.groups[group], last if group == rest else min(group, last)) for group in used]
    return _figure(title, plot, legend, text)


def _figure(title: str, plot: str, legend: Sequence[tuple[str, int]], text: str) -> str:
    keys = "".join(f'<span><i class="c{colour}"></i>{escape(name)}</span>' for name, colour in legend)
    keys = f'<div class="legend">{keys}</div>' if keys else ""
    return f"<figure><h3>{escape(title)}</h3>{keys}{plot}<figcaption>{escape(text)}</figcaption></figure>"
