"""`fanlight collections`: create, list, show, update and delete collections."""

from __future__ import annotations

import time
from collections.abc import Sequence

import click
from rich.text import Text

from fanlight.cli.session import address_option, connect, coverage_option
from fanlight.cli.show import info_as_json, out, show_json, table
from fanlight.errors import InvalidRequest
from fanlight.filters import listed
from fanlight.model import DEFAULT_EF_CONSTRUCTION, DEFAULT_M, CollectionInfo, IdType, Metric

# Between two looks at what is being built.
_LOOK_S = 0.2
METRICS = click.Choice([metric.value for metric in Metric])
_ID_TYPES = click.Choice([id_type.value for id_type in IdType])
_NUMBERS = ("Dim", "Items", "Unindexed", "Segments", "m", "ef")


@click.group()
@address_option
def collections() -> None:
    """Create, list, show, update and delete collections."""


@collections.command("list")
@address_option
@coverage_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(min_coverage: float, as_json: bool) -> None:
    """List all collections.

    \b
    Example:
      fanlight collections list
    """
    with connect() as client:
        infos = client.list_collections(min_coverage=min_coverage)
    if as_json:
        show_json([info_as_json(info) for info in infos])
    elif infos:
        _show(infos)
    else:
        out.print("No collections yet. `fanlight collections create --help` shows how.")


@collections.command()
@address_option
@click.argument("name")
@click.option("--dim", type=int, required=True, help="Elements of every vector.")
@click.option("--metric", type=METRICS, default=Metric.COSINE.value, show_default=True)
@click.option("--id-type", type=_ID_TYPES, default=IdType.INT64.value, show_default=True)
@click.option("--m", type=int, default=DEFAULT_M, show_default=True, help="Links of a graph node.")
@click.option(
    "--ef-construction",
    type=int,
    default=DEFAULT_EF_CONSTRUCTION,
    show_default=True,
    help="Candidates kept while a graph is built.",
)
@click.option(
    "--filterable",
    "fields",
    multiple=True,
    metavar="FIELD=TYPE",
    help="A key of payloads to filter by: keyword, int, float, bool or time; repeatable.",
)
def create(
    name: str,
    dim: int,
    metric: str,
    id_type: str,
    m: int,
    ef_construction: int,
    fields: tuple[str, ...],
) -> None:
    """Create a collection; creating it again with the same parameters changes nothing.

    \b
    Example:
      fanlight collections create movies --dim 384 --metric cosine
      fanlight collections create movies --dim 384 --filterable genre=keyword --filterable year=int
    """
    filterable = _parse_fields(fields)
    with connect() as client:
        client.create_collection(
            name,
            dim=dim,
            metric=metric,
            id_type=id_type,
            m=m,
            ef_construction=ef_construction,
            filterable=filterable,
        )
    by = f", filterable by {', '.join(filterable)}" if filterable else ""
    out.print(f"Collection {name}: dim {dim}, {metric}, ids {id_type}{by}.", markup=False)


def _parse_fields(texts: Sequence[str], option: str = "filterable") -> dict[str, str]:
    fields: dict[str, str] = {}
    for text in texts:
        name, _, type_ = text.rpartition("=" if "=" in text else ":")
        if not name or name in fields:
            raise InvalidRequest.of_field(option, "FIELD=TYPE, each field once", repr(text))
        fields[name] = type_
    return fields


@collections.command()
@address_option
@click.argument("name")
@coverage_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(name: str, min_coverage: float, as_json: bool) -> None:
    """Show one collection.

    \b
    Example:
      fanlight collections show movies --json
    """
    with connect() as client:
        info = client.collection(name).info(min_coverage=min_coverage)
    if as_json:
        show_json(info_as_json(info))
    else:
        _show([info])


@collections.command()
@address_option
@click.argument("name")
@click.option(
    "--add",
    "added",
    multiple=True,
    metavar="FIELD=TYPE",
    help="A key of payloads to filter by from now on; repeatable. FIELD:TYPE will do.",
)
@click.option("--drop", multiple=True, metavar="FIELD", help="A field to drop; repeatable.")
@click.option(
    "--ef-search", type=int, help="What searches keep that do not say it; 0: the servers' default."
)
@click.option("--wait", is_flag=True, help="Return when new fields are built.")
def update(
    name: str,
    added: tuple[str, ...],
    drop: tuple[str, ...],
    ef_search: int | None,
    wait: bool,
) -> None:
    """Declare filterable fields, drop declared ones, or set the default of ef_search.

    A field that is dropped and added gets another type. New fields are built in the background;
    until then a filter on them is refused. Doing it again changes nothing.

    \b
    Example:
      fanlight collections update movies --add year=int --drop genre
      fanlight collections update movies --drop year --add year=time --wait
      fanlight collections update movies --ef-search 150
    """
    fields = _parse_fields(added, "--add")
    with connect() as client:
        info = client.update_collection(
            name, add_fields=fields, drop_fields=drop, ef_search=ef_search
        )
        while wait and info.building_fields:
            time.sleep(_LOOK_S)
            info = client.get_collection(name)
    by, building = listed(info.spec.filterable), ", ".join(info.building_fields)
    note = f"; being built: {building}" if building else ""
    default = info.spec.ef_search
    kept = "" if default is None else f"; ef_search {default}"
    out.print(f"Collection {name}: filterable by {by}{note}{kept}.", markup=False)


@collections.command()
@address_option
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(name: str, yes: bool) -> None:
    """Delete a collection and all its items.

    \b
    Example:
      fanlight collections delete movies --yes
    """
    with connect() as client:
        items = client.collection(name).info().items
        if not yes:
            click.confirm(f"Delete {name} and its {items:,} items?", abort=True, err=True)
        client.delete_collection(name)
    out.print(f"Deleted {name} with {items:,} items.")


def _show(infos: list[CollectionInfo]) -> None:
    fields = ["Filterable"] if any(info.spec.filterable for info in infos) else []
    made = table("Collection", "Metric", "Ids", *_NUMBERS, *fields, right=_NUMBERS)
    for info in infos:
        spec = info.spec
        numbers = (spec.dim, info.items, info.unindexed_items, info.segments)
        graph = (str(spec.m), str(spec.ef_construction))
        name = f"{spec.name} (restoring)" if info.restoring else spec.name
        words = (name, spec.metric.value, spec.id_type.value)
        cells: list[str | Text] = [*words, *(f"{number:,}" for number in numbers), *graph]
        if fields:
            building = ", ".join(info.building_fields)
            note = f" (being built: {building})" if building else ""
            cells.append(Text(listed(spec.filterable) + note))
        made.add_row(*cells)
    out.print(made)
