"""The command `fanlight` of VectorDBBench's command line."""

# VectorDBBench reads the annotations below as objects, so they may not be postponed.
# pyright: reportMissingImports=false
from typing import Annotated, Any

import click
from vectordb_bench.cli.cli import (
    CommonTypedDict,
    cli,
    click_parameter_decorators_from_typed_dict,
    run,
)

from .config import FanlightConfig, FanlightIndexConfig
from .register import database


class FanlightOptions(CommonTypedDict):  # type: ignore[misc]
    """Options besides those of every database."""

    address: Annotated[
        str,
        click.option("--address", default="localhost:7700", help="host:port of routers"),
    ]
    m: Annotated[int, click.option("--m", default=16, help="links of a graph node")]
    ef_construction: Annotated[
        int, click.option("--ef-construction", default=200, help="candidates of the build")
    ]
    ef_search: Annotated[
        int | None, click.option("--ef-search", type=int, help="candidates of a search")
    ]


@cli.command(name="fanlight")  # type: ignore[untyped-decorator]
@click_parameter_decorators_from_typed_dict(FanlightOptions)  # type: ignore[untyped-decorator]
def command(**given: Any) -> None:
    """Measure a running Fanlight cluster."""
    run(
        db=database(),
        db_config=FanlightConfig(db_label=given["db_label"], address=given["address"]),
        db_case_config=FanlightIndexConfig(
            m=given["m"],
            ef_construction=given["ef_construction"],
            ef_search=given["ef_search"],
        ),
        **given,
    )
