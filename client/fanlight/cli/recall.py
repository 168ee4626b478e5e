"""`fanlight eval recall`: what the index finds of what exact search finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.progress import Progress

import fanlight
from fanlight.cli.matrix import read_matrix
from fanlight.cli.session import address_option, connect
from fanlight.cli.show import err, out, parse_filter, show_json, show_note, table
from fanlight.errors import InvalidRequest
from fanlight.evaluation import (
    DEFAULT_EFS,
    DEFAULT_SHARE_EFS,
    DEFAULT_SHARES,
    Curve,
    Point,
    Share,
    filters_by,
    measure_recall,
    measure_shares,
)
from fanlight.evaluation.recall import Search
from fanlight.evaluation.shares import ALL, Conditions

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_OUTPUT = click.Path(dir_okay=False, path_type=Path)


def _numbers(kind: type[int] | type[float]) -> Callable[..., tuple[Any, ...] | None]:
    def parse(_: click.Context, __: click.Parameter, value: str | None) -> tuple[Any, ...] | None:
        try:
            return None if value is None else tuple(kind(part) for part in value.split(","))
        except ValueError:
            raise click.BadParameter("expected numbers with commas between") from None

    return parse


def _as_shares(
    context: click.Context, option: click.Parameter, value: str
) -> tuple[float, ...] | None:
    percents = _numbers(float)(context, option, value) or ()
    if not all(0 < percent <= 100 for percent in percents):
        raise click.BadParameter("expected percents above 0, up to 100")
    return tuple(percent / 100 for percent in percents)


def _listed(values: tuple[int, ...]) -> str:
    return ",".join(map(str, values))


@click.command()
@address_option
@click.argument("name", metavar="COLLECTION")
@click.option("--queries", type=_FILE, help="A .npy of query vectors. Default: stored items.")
@click.option(
    "--sample",
    type=click.IntRange(1),
    default=500,
    show_default=True,
    help="Queries asked: the first of the file, or so many stored items, each itself left out.",
)
@click.option("-k", type=click.IntRange(1), default=10, show_default=True, help="Hits wanted.")
@click.option(
    "--ef",
    "efs",
    callback=_numbers(int),
    help="Values of ef_search to try; those below k are left out. Default: "
    f"{_listed(DEFAULT_EFS)}; with --filter-share: {_listed(DEFAULT_SHARE_EFS)}.",
)
@click.option(
    "--filter",
    "filters",
    multiple=True,
    metavar="JSON",
    help="Measure searches with this filter too; repeatable.",
)
@click.option(
    "--filter-share",
    is_flag=True,
    help="Measure by the share of items that filters leave: of each --filter, or with --by.",
)
@click.option(
    "--by",
    metavar="FIELD",
    help="With --filter-share: filter by this field, a number or time, so that --shares are left.",
)
@click.option(
    "--shares",
    callback=_as_shares,
    default=",".join(f"{100 * share:g}" for share in DEFAULT_SHARES),
    show_default=True,
    help="With --by: percents of the items to leave.",
)
@click.option(
    "--target",
    type=click.FloatRange(0, 1),
    default=0.99,
    show_default=True,
    help="Tell the cheapest ef_search that reaches this recall.",
)
@click.option("--plot", type=_OUTPUT, help="Draw recall and speed; .png or .svg.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def recall(
    name: str,
    queries: Path | None,
    sample: int,
    k: int,
    efs: tuple[int, ...] | None,
    filters: tuple[str, ...],
    filter_share: bool,
    by: str | None,
    shares: tuple[float, ...],
    target: float,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Measure recall of the index against exact search, by ef_search.

    The same queries are asked exactly and with each ef_search; a hit counts when it is as near as
    the exact k-th. With --filter-share it is measured by how many items filters leave.

    \b
    Examples:
      fanlight eval recall movies --queries queries.npy -k 10 --target 0.99 --plot recall.png
      fanlight eval recall movies --filter '{"genre": "drama"}' --filter '{"year": {"gte": 2020}}'
      fanlight eval recall movies --filter-share --by year --shares 100,10,1 --plot shares.png
    """
    if (by and not filter_share) or (filter_share and not (by or filters)):
        raise click.UsageError("--filter-share goes with --by FIELD, or with one --filter or more.")
    if plot is not None:
        _check_plots()
    given: dict[str, Conditions | None] = {ALL: None} | {
        text: parse_filter(text) for text in filters
    }
    with connect() as client:
        collection = client.collection(name)
        search, asked = _queries(collection, queries, sample)
        if by is not None:
            filterable = collection.info().spec.filterable
            given |= filters_by(by, filterable, shares, collection.count)
        if filter_share:
            measured = _measured_shares(
                collection, search, asked, given, k, efs or DEFAULT_SHARE_EFS
            )
            _show_shares(measured, target, plot, as_json)
        else:
            curves = _measured_curves(search, asked, given, k, efs or DEFAULT_EFS)
            _show_curves(curves, target, plot, as_json)


def _check_plots() -> None:
    try:
        import matplotlib as _  # noqa: F401
    except ModuleNotFoundError:
        hint = "pip install 'fanlight[plots]'"
        raise InvalidRequest.of_field("plot", f"matplotlib, from {hint}", "none") from None


def _queries(collection: fanlight.Collection, path: Path | None, sample: int) -> tuple[Search, Any]:
    if path is not None:
        return collection.search, read_matrix(path)[:sample]
    pages = collection.scroll(page_size=min(sample, 1_000), with_vectors=False, with_payloads=False)
    ids: list[Any] = []
    for page in pages:
        ids += page.ids.tolist()
        if len(ids) >= sample:
            break
    if not ids:
        raise InvalidRequest.of_field("collection", "at least one item", "0 items")
    return collection.search_by_id, ids[:sample]


def _rounds(k: int, efs: tuple[int, ...]) -> int:
    return max(len({ef for ef in efs if ef >= k}), 1) + 1


# --- by ef_search -----------------------------------------------------------------------------


def _measured_curves(
    search: Search,
    asked: Any,
    filters: dict[str, Conditions | None],
    k: int,
    efs: tuple[int, ...],
) -> dict[str, Curve]:
    curves = {}
    with Progress(console=err, transient=True, disable=not err.is_terminal) as progress:
        for label, demand in filters.items():
            task = progress.add_task(label, total=_rounds(k, efs))
            advance = partial(progress.advance, task)
            curves[label] = measure_recall(
                search, asked, k=k, efs=efs, progress=advance, filter=demand
            )
    return curves


def _show_curves(curves: dict[str, Curve], target: float, plot: Path | None, as_json: bool) -> None:
    if plot is not None:
        from fanlight.evaluation.plots import draw_recall

        draw_recall(curves, plot)
    if as_json:
        shown = {name: _with_cheapest(curve, target) for name, curve in curves.items()}
        show_json({"target": target, "curves": shown})
        return
    for name, curve in curves.items():
        title = f"{name}: recall@{curve.k} of {curve.queries:,} queries"
        numbers = ("ef_search", "recall", "95 %", "queries/s")
        made = table(*numbers, title=title, right=numbers)
        for point in curve.points:
            speed = f"{point.queries_per_s:,.0f}"
            made.add_row(str(point.ef_search), f"{point.recall:.4f}", _interval(point), speed)
        made.add_row("exact", "1.0000", "", f"{curve.exact_queries_per_s:,.0f}")
        out.print(made)
        cheapest = curve.cheapest(target)
        if cheapest is None:
            show_note(f"No ef_search of those reaches {target}; the highest recall is above.\n")
        else:
            out.print(f"ef_search={cheapest} is the cheapest that reaches {target}.\n")


def _with_cheapest(curve: Curve, target: float) -> dict[str, Any]:
    return asdict(curve) | {"cheapest_ef_search": curve.cheapest(target)}


def _interval(point: Point) -> str:
    return f"{point.low:.3f} to {point.high:.3f}"


# --- by the share of the items that a filter leaves -------------------------------------------


def _measured_shares(
    collection: fanlight.Collection,
    search: Search,
    asked: Any,
    filters: dict[str, Conditions | None],
    k: int,
    efs: tuple[int, ...],
) -> list[Share]:
    with Progress(console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task("filters", total=len(filters) * _rounds(k, efs))
        advance = partial(progress.advance, task)
        shares = measure_shares(
            search, collection.count, asked, filters, k=k, efs=efs, progress=advance
        )
    if not shares:
        raise InvalidRequest.of_field("collection", "at least one item", "0 items")
    for label in filters.keys() - {share.label for share in shares}:
        show_note(f"No item satisfies {label}; it is left out.")
    return shares


def _show_shares(shares: list[Share], target: float, plot: Path | None, as_json: bool) -> None:
    if plot is not None:
        from fanlight.evaluation.plots import draw_shares

        draw_shares(shares, plot)
    if as_json:
        shown = [
            {"filter": share.label, "items": share.items, "share": share.share}
            | _with_cheapest(share.curve, target)
            for share in shares
        ]
        show_json({"target": target, "shares": shown})
        return
    curve = shares[0].curve
    numbers = ("share", "items", "ef_search", "recall", "95 %", "ms/query", "exact ms/query")
    title = f"recall@{curve.k} of {curve.queries:,} queries"
    made = table("filter", *numbers, title=title, right=numbers)
    for share in shares:
        cells = [share.label, f"{100 * share.share:.3g} %", f"{share.items:,}"]
        exact = f"{1_000 / share.curve.exact_queries_per_s:.2f}"
        for point in share.curve.points:
            time = f"{1_000 / point.queries_per_s:.2f}"
            figures = (f"{point.recall:.4f}", _interval(point), time)
            made.add_row(*cells, str(point.ef_search), *figures, exact)
            cells, exact = ["", "", ""], ""
    out.print(made)
