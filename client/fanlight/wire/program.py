"""The life of a Fanlight program: arguments, configuration, log, serve, drain, exit code.

Laws: the port is bound before anything is loaded, so that a second instance fails at once.
SIGTERM, SIGINT and (with --exit-with-parent) the end of stdin drain; a second signal ends the
process at once, which costs nothing acknowledged. Exit codes: 0 after a drain, 1 for what went
wrong on the way, 2 for wrong arguments or configuration. stdout is for --print-config alone.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib.metadata
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypeVar

import grpc
import structlog
import uvloop

from fanlight.config import (
    AccessConfig,
    ConfigError,
    ListenConfig,
    LogConfig,
    TlsConfig,
    as_mapping,
    dump,
    load,
)
from fanlight.errors import FanlightError
from fanlight.limits import Limits
from fanlight.wire.connections import raise_descriptor_limit
from fanlight.wire.security import Security
from fanlight.wire.serving import Shell, address

VERSION = importlib.metadata.version("fanlight")
EXIT_FAILED = 1
EXIT_CONFIG = 2
# How long a thread may compute while another one wants the interpreter. With Python's 5 ms a search
# waits that long for a thread that takes rows apart.
_SWITCH_S = 0.0005

_log = structlog.get_logger("fanlight.program")


# Takes full names of services.
Withdraw: TypeAlias = Callable[[Iterable[str]], Coroutine[Any, Any, None]]


class ProgramConfig(Protocol):
    """The sections that every program's configuration has."""

    @property
    def listen(self) -> ListenConfig:
        """Where it listens."""
        ...

    @property
    def tls(self) -> TlsConfig:
        """How it encrypts."""
        ...

    @property
    def access(self) -> AccessConfig:
        """Who may call."""
        ...

    @property
    def limits(self) -> Limits:
        """What it accepts."""
        ...

    @property
    def log(self) -> LogConfig:
        """How it logs."""
        ...


class Program(Protocol):
    """What a program adds to the shared life; made inside the running event loop."""

    def register(self, server: grpc.aio.Server) -> None:
        """Add the servicers; called before the port is bound."""
        ...

    async def open(self, address: str, withdraw: Withdraw) -> None:
        """Load what the servicers need; until it returns, calls are refused.

        Args:
            address: "host:port" that is bound, also where the configuration says port 0.
            withdraw: for services that will not work any more; see `Shell.withdraw`. To be
                called on the event loop.
        """
        ...

    async def close(self) -> None:
        """Release what `open` took, even when that failed; called after the last call."""
        ...


C = TypeVar("C", bound=ProgramConfig)


def run(
    name: str,
    description: str,
    config_class: type[C],
    make: Callable[[C], Program],
    argv: Sequence[str] | None = None,
) -> int:
    """Run a program until it is told to stop.

    Args:
        name: as it is called, "fanlight-server".
        description: one sentence for --help.
        config_class: its configuration.
        make: makes the program from the configuration.
        argv: arguments without the program's name; None for the process's own.

    Returns:
        The exit code.
    """
    arguments = _parser(name, description).parse_args(argv)
    try:
        config = load(config_class, arguments.config, [*arguments.set, *arguments.insecure])
        if arguments.print_config:
            sys.stdout.write(dump(config))
            return 0
        configure_log(config.log)
        raise_descriptor_limit()
        sys.setswitchinterval(_SWITCH_S)
        values = as_mapping(config)
        _log.info("starting", program=name, version=VERSION, pid=os.getpid(), config=values)
        gc.freeze()  # what is here stays; collections need not look at it again (20 ms each)
        uvloop.run(_live(config, make, arguments.port_file, arguments.exit_with_parent))
    except FanlightError as error:
        sys.stderr.write(f"{name}: {error}\n")
        return EXIT_CONFIG if isinstance(error, ConfigError) else EXIT_FAILED
    except OSError as error:
        sys.stderr.write(f"{name}: {error.filename or 'system'}: {error.strerror or error}\n")
        return EXIT_FAILED
    return 0


def _parser(name: str, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=name, description=description)
    parser.add_argument("--version", action="version", version=f"{name} {VERSION}")
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML configuration")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override one key, e.g. listen.port=7701; repeatable",
    )
    parser.add_argument(
        "--insecure",
        action="append_const",
        const="listen.insecure=true",
        default=[],
        help="let other hosts in without encryption or credentials; for trusted networks",
    )
    parser.add_argument(
        "--print-config", action="store_true", help="print the effective configuration and exit"
    )
    parser.add_argument(
        "--port-file", type=Path, metavar="FILE", help="write host:port here once bound"
    )
    parser.add_argument(
        "--exit-with-parent", action="store_true", help="drain and stop when stdin ends"
    )
    return parser


async def _live(
    config: C, make: Callable[[C], Program], port_file: Path | None, exit_with_parent: bool
) -> None:
    """Bind, load, serve until told to stop, drain, close."""
    stop = _stop_event(exit_with_parent)
    security = Security.of(config.tls, config.access)
    security.check(config.listen)
    shell, program = Shell(config.limits, security), make(config)
    program.register(shell.grpc)
    where = address(config.listen.host, await shell.start(config.listen))
    try:
        if port_file is not None:
            _write_whole(port_file, where)
        await program.open(where, shell.withdraw)
        await shell.set_serving(True)
        _log.info("serving", address=where)
        await stop.wait()
        _log.info("draining", drain_s=config.listen.drain_s)
    finally:
        await shell.drain(config.listen.drain_s)
        await program.close()
    _log.info("stopped")


def _stop_event(exit_with_parent: bool) -> asyncio.Event:
    """Make the event that signals and, if wanted, the end of stdin set."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def on_signal(number: signal.Signals) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    if exit_with_parent:
        end = (lambda: loop.call_soon_threadsafe(stop.set),)
        threading.Thread(target=_wait_for_end_of_stdin, args=end, daemon=True).start()
    return stop


def _wait_for_end_of_stdin(on_end: Callable[[], object]) -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    on_end()


def _write_whole(path: Path, text: str) -> None:
    """Write a file so that a reader sees all of it or none."""
    part = path.with_name(f"{path.name}.{os.getpid()}")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def configure_log(config: LogConfig) -> None:
    """Send structlog's and the standard library's records to stderr, as text or JSON lines."""
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # Plain tracebacks: richer ones show local variables, and so the users' data.
    console = structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
    )
    renderers: list[structlog.typing.Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if config.format == "json"
        else [console]
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    logging.basicConfig(level=config.level.upper(), handlers=[handler], force=True)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(config.level),
        cache_logger_on_first_use=True,
    )
