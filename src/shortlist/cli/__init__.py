"""The command line: parse, call the workflow, print. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shortlist.cli.exporting import export
from shortlist.cli.judging import evaluate, report
from shortlist.cli.options import as_json_option, choice_options, read_caps, table_options
from shortlist.cli.printing import print_frame, print_json
from shortlist.cli.renewing import refresh
from shortlist.cli.serving import events, serve
from shortlist.errors import DataError, RequestError, SettingsError, ShortlistError, ShortlistWarning

if TYPE_CHECKING:
    from shortlist.evaluation import Report


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="shortlist")
def app() -> None:
    """Deep recommenders, from raw events to a ranked shortlist."""


app.add_command(evaluate)
app.add_command(report)
app.add_command(refresh)
app.add_command(serve)
app.add_command(events)
app.add_command(export)


@app.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("demo.bundle"),
    show_default=True,
    help="The bundle to write.",
)
@as_json_option
def demo(out: Path, as_json: bool) -> None:
    """Make a small shop, train on it, evaluate, and show one user's shortlist."""
    from shortlist.demo import run_demo

    result = run_demo(out, show=not as_json)
    if as_json:
        print_json(result.to_dict())
    else:
        click.echo(str(result))


@app.command()
@click.argument("events")
@table_options
@click.option(
    "--retriever",
    "retrievers",
    multiple=True,
    help="sasrec, gru4rec, two_tower, mf, als, itemknn or popularity; may be given several times.  [default: two_tower]",
)
@click.option(
    "--ranker", help="neumf, deepfm, dlrm, cross_attention, lightgbm or catboost.  [default: none; of a table deepfm]"
)
@click.option("--index", help="auto, exact, ivfpq, hnsw, scann or annoy.  [default: auto]")
@click.option(
    "--resume-from", metavar="BUNDLE", help="Train the models of a bundle on with EVENTS, which are later than its own."
)
@click.option("--config", type=click.Path(path_type=Path), help="A TOML file with settings.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="One setting, such as training.epochs=5.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The bundle to write.")
@click.option(
    "--run-dir", type=click.Path(path_type=Path), help="Where logs and checkpoints go; a killed run resumes from there."
)
@as_json_option
def train(
    events: str,
    items: str | None,
    users: str | None,
    file_format: str | None,
    retrievers: tuple[str, ...],
    ranker: str | None,
    index: str | None,
    resume_from: str | None,
    config: Path | None,
    overrides: tuple[str, ...],
    out: Path,
    run_dir: Path | None,
    as_json: bool,
) -> None:
    """Read EVENTS, keep a part for evaluation, train the funnel on the rest and write a bundle."""
    from shortlist import workflow
    from shortlist.config import load_config

    if resume_from is not None:
        if retrievers or ranker or index or config or overrides:
            raise SettingsError(
                "--resume-from goes on with the bundle's own models and settings. Leave the others out."
            )
        from shortlist.renewing import resume

        renewed = resume(
            workflow.load(resume_from),
            events,
            items=items,
            users=users,
            format=file_format,
            run_dir=run_dir,
            show=not as_json,
        )
        renewed.save(out)
        notes = list(renewed.dataset.notes)
        if as_json:
            print_json({"bundle": str(out), "notes": notes})
        else:
            click.echo(f"{renewed.dataset.describe()}\nWrote {out}")
        return
    if file_format is not None:
        overrides = (*overrides, f'data.format="{file_format}"')
    settings = load_config(config, overrides=overrides, retriever=retrievers, ranker=ranker, index=index)
    prepared = workflow.read_and_split(events, settings.data, items=items, users=users)
    if not as_json:
        click.echo(prepared.dataset.describe())
        click.echo(prepared.describe())
    if prepared.dataset.schema.is_tabular:
        if retrievers or index is not None:
            raise SettingsError(
                "The data is a table of rows without items: there is nothing to retrieve. Name a --ranker."
            )
        model = workflow.run_table(prepared, settings, run_dir=run_dir, show=not as_json)
        model.save(out)
        judged: Report | str | None = None
        if prepared.test is not None:
            try:
                judged = workflow.evaluate_table(model, prepared.test)
            except DataError as error:
                judged = f"not evaluated: {error}"
        if as_json:
            print_json(
                {"bundle": str(out), "test": judged if judged is None or isinstance(judged, str) else judged.to_dict()}
            )
            return
        click.echo(f"\n{judged or ''}\nWrote {out}. Next:\n  shortlist score {out} ROWS --out scores.parquet")
        return
    recommender = workflow.run(prepared, settings, run_dir=run_dir, show=not as_json)
    recommender.save(out)
    built = [source.index.report for source in recommender.funnel.sources if source.index is not None]
    if as_json:
        print_json(
            {
                "bundle": str(out),
                "notes": list(prepared.dataset.notes),
                "split": prepared.describe(),
                "index": "; ".join(map(str, built)) or None,
            }
        )
        return
    for measured in built:
        click.echo(f"index    {measured}")
    click.echo(
        f"\nWrote {out}. Next:\n  shortlist evaluate {out}\n  shortlist recommend {out} --user ID\n  shortlist serve {out}"
    )


@app.command()
@click.argument("bundle")
@click.option("--user", "users", multiple=True, help="A user's id; may be given several times.")
@click.option("--all", "everyone", is_flag=True, help="Every user with events.")
@click.option("--events", help="A file of fresh events that extend the stored ones.")
@click.option("--k", default=10, show_default=True, help="Items for each user.")
@click.option("--repeats", is_flag=True, help="Items that the user has met may come again.")
@choice_options
@click.option("--out", type=click.Path(path_type=Path), help="Write .parquet, .csv or .json instead of printing.")
@as_json_option
def recommend(
    bundle: str,
    users: tuple[str, ...],
    everyone: bool,
    events: str | None,
    k: int,
    repeats: bool,
    where: str | None,
    diversity: float | None,
    caps: tuple[str, ...],
    out: Path | None,
    as_json: bool,
) -> None:
    """Print or write the best items of users, by the recommender saved as BUNDLE."""
    import polars as pl

    from shortlist import workflow
    from shortlist.files import write_frame

    if not users and not everyone and events is None:
        raise RequestError("Nothing to recommend for: give --user ID, --all or --events FILE.")
    recommender = workflow.load(bundle)
    asked = recommender.known_users() if everyone else list(users) if users else None
    frame = recommender.recommend(
        asked, events=events, k=k, where=where, exclude_seen=not repeats, diversity=diversity, caps=read_caps(caps)
    )
    if recommender.dataset.encoders.titles is not None:
        frame = frame.with_columns(title=pl.Series(recommender.titles(frame["item_id"].to_list()), dtype=pl.String))
    if out is not None:
        write_frame(frame, out)
        click.echo(f"Wrote {len(frame)} rows to {out}.", err=True)
    elif as_json:
        print_json(frame.to_dicts())
    else:
        print_frame(frame)


@app.command()
@click.argument("bundle")
@click.argument("rows")
@click.option("--format", "file_format", help="The file's format where it cannot be seen, such as libfm.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Write .parquet, .csv or .json.")
def score(bundle: str, rows: str, file_format: str | None, out: Path) -> None:
    """Write the predictions that the model saved as BUNDLE makes for ROWS, as a further column beside theirs.

    They are probabilities of the label, or ratings.
    """
    from shortlist.data.load import open_table
    from shortlist.files import write_frame
    from shortlist.model import Model

    frame = open_table(rows, "events", file_format).frame
    if "prediction" in frame.columns:
        raise RequestError(f"{rows} has a column 'prediction' already. Rename or drop it.")
    predicted = Model.load(bundle).predict(frame)
    write_frame(frame.with_columns(prediction=predicted.numpy()), out)
    click.echo(f"Wrote {len(frame):,} rows to {out}.", err=True)


@app.command()
@click.argument("events")
@table_options
def validate(events: str, items: str | None, users: str | None, file_format: str | None) -> None:
    """Read EVENTS as train would, and say what was found."""
    from shortlist.data import read_dataset

    click.echo(read_dataset(events, items=items, users=users, format=file_format).describe())


@app.command()
@click.argument("recipe", required=False)
@click.option("--data", type=click.Path(path_type=Path), help="The folder with the data sets.")
@click.option("--seed", "seeds", multiple=True, type=int, help="Instead of the recipe's seeds; may come again.")
@click.option("--device", default="cpu", show_default=True, help="What to train on, such as cuda.")
@click.option("--out", type=click.Path(path_type=Path), help="The JSON file.  [default: results/ beside the recipe]")
@as_json_option
def reproduce(
    recipe: str | None, data: Path | None, seeds: tuple[int, ...], device: str, out: Path | None, as_json: bool
) -> None:
    """Train as RECIPE (a TOML file) says and set our figures beside the published ones; without it, list recipes/."""
    from shortlist import reproduce as recipes

    if recipe is None:
        click.echo(recipes.overview(Path("recipes")))
        return
    if data is None:
        raise RequestError("reproduce needs the folder with the data sets: --data DIR.")
    path = Path(recipe)
    result = recipes.reproduce(recipes.read_recipe(path), data, seeds=seeds, device=device, show=not as_json)
    asked = [*(f"--seed {seed}" for seed in seeds), *([] if device == "cpu" else [f"--device {device}"])]
    result["command"] = " ".join(["shortlist reproduce", recipe, "--data DIR", *asked])
    result = recipes.write_result(result, path.parent / "results" / f"{path.stem}.json" if out is None else out)
    if as_json:
        print_json(result)
    else:
        click.echo(recipes.table(result))


def main() -> None:
    """Run the command line; a user's mistake is one line and exit code 2."""
    warnings.showwarning = _show_warning  # type: ignore[assignment]
    try:
        app(standalone_mode=True)
    except ShortlistError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)


def _show_warning(message: Warning | str, category: type[Warning], *_: Any) -> None:
    prefix = "note" if issubclass(category, ShortlistWarning) else category.__name__
    click.echo(f"{prefix}: {message}", err=True)
