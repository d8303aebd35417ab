"""The verbs that say how good a bundle is: evaluate, report."""

from __future__ import annotations

from pathlib import Path

import click

from shortlist.cli.options import as_json_option
from shortlist.cli.printing import print_json
from shortlist.errors import SettingsError


@click.command()
@click.argument("bundle")
@click.argument("events", required=False)
@click.option(
    "--metrics", default="hr@10,ndcg@10,recall@20,mrr@10,coverage@10", show_default=True, help="Separated by commas."
)
@click.option("--repeats", is_flag=True, help="Items that the user has met may be found again.")
@click.option("--out", type=click.Path(path_type=Path), help="Also write the report as JSON.")
@as_json_option
def evaluate(bundle: str, events: str | None, metrics: str, repeats: bool, out: Path | None, as_json: bool) -> None:
    """Evaluate BUNDLE on the part kept from its training (or on later EVENTS), beside popularity, item-kNN and ALS."""
    from shortlist import workflow

    standing = workflow.evaluate_bundle(
        workflow.load(bundle), events=events, metrics=metrics.split(","), exclude_seen=not repeats
    )
    if out is not None:
        standing.reports["bundle"].save(out)
    if as_json:
        print_json({name: report.to_dict() for name, report in standing.reports.items()})
    else:
        click.echo(str(standing))


@click.command()
@click.argument("bundle")
@click.argument("events", required=False)
@click.option(
    "--metrics",
    default="ndcg@10,hr@10,recall@10,mrr@10,coverage@10,novelty@10",
    show_default=True,
    help="Separated by commas. The stages and lists are cut where the metrics are.",
)
@click.option("--repeats", is_flag=True, help="Items that the user has met may be found again.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("report.html"),
    show_default=True,
    help="The page to write (.html), or its figures (.json).",
)
@as_json_option
def report(bundle: str, events: str | None, metrics: str, repeats: bool, out: Path, as_json: bool) -> None:
    """Say where BUNDLE loses quality, on the part kept from its training or on later EVENTS, and write a page of it."""
    from shortlist import workflow

    if out.suffix not in (".html", ".json"):
        raise SettingsError(f"--out {out} does not end in .html or .json, the two kinds of report. Rename it.")
    found = workflow.report_bundle(
        workflow.load(bundle), events=events, metrics=metrics.split(","), exclude_seen=not repeats
    )
    found.save(out)
    if as_json:
        print_json(found.to_dict())
        return
    click.echo(str(found))
    click.echo(f"\nWrote {out}.", err=True)
