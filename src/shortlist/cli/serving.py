"""The verbs around the service: ``shortlist serve``, and ``shortlist events`` for what it has stored."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=8000, show_default=True)
@click.option("--workers", default=1, show_default=True, help="Processes that share the port and the bundle's memory.")
@click.option("--threads", default=1, show_default=True, help="Threads that a process computes with.")
@click.option(
    "--watch", is_flag=True, help="Serve newer bundles as they come to BUNDLE, or into it if it is a folder of them."
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    help="Where the service keeps its own files.  [default: BUNDLE.service]",
)
@click.option(
    "--state",
    metavar="URL",
    envvar="SHORTLIST_STATE",  # a URL may hold a password, and everybody can read a command line
    show_envvar=True,
    help="Another store of events, such as redis://localhost:6379/0.",
)
@click.option("--tokens", type=click.Path(path_type=Path), help="A TOML file that says who may do what.")
@click.option("--open", "is_open", is_flag=True, help="Listen where others can reach it without asking for tokens.")
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True
)
def serve(
    bundle: Path,
    host: str,
    port: int,
    workers: int,
    threads: int,
    watch: bool,
    folder: Path | None,
    state: str | None,
    tokens: Path | None,
    is_open: bool,
    log_level: str,
) -> None:
    """Answer HTTP requests with the recommender saved as BUNDLE, or with the newest one in a folder of bundles."""
    from shortlist.service import ServiceSettings
    from shortlist.service import serve as run

    settings = ServiceSettings(
        bundle=bundle,
        host=host,
        port=port,
        workers=workers,
        threads=threads,
        watch=watch,
        folder=folder,
        state=state,
        tokens=tokens,
        is_open=is_open,
        log_level=log_level,
    )
    run(settings)


@click.command()
@click.argument("state")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="The file to write: .parquet, .csv or .json."
)
@click.option("--like", metavar="BUNDLE", help="Call the columns as the events of BUNDLE do.")
def events(state: str, out: Path, like: str | None) -> None:
    """Write the events that a service has stored, to train from. STATE is its folder, or the address given as --state."""
    from shortlist.files import write_frame
    from shortlist.service.stored import named_as, stored_events
    from shortlist.workflow import load

    found = stored_events(state)
    write_frame(found if like is None else named_as(found, load(like).dataset.schema), out)
    click.echo(f"{len(found):,} events of {found['user_id'].n_unique():,} users are in {out}")
