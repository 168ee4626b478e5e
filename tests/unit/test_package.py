"""What `import fanlight` gives, and what it takes."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest

import fanlight

PROGRAMS_LIBRARIES = {
    "annotated_types",
    "click",
    "hnswlib",
    "psutil",
    "pyarrow",
    "pydantic",
    "rich",
    "structlog",
    "yaml",
}
LOADED = """
import sys
import fanlight
print(*{name.partition(".")[0] for name in sys.modules})
"""


def test_the_public_names_are_sorted_and_exist() -> None:
    """Every public name is there, once and in order."""
    assert fanlight.__all__ == sorted(set(fanlight.__all__))
    assert [name for name in fanlight.__all__ if not hasattr(fanlight, name)] == []


def test_every_error_is_public() -> None:
    """Users can catch each error by name, without a look into other modules."""
    errors = {cls.__name__ for cls in _subclasses(fanlight.FanlightError)}
    assert errors <= set(fanlight.__all__)


def _subclasses(cls: type) -> set[type]:
    children: list[type] = cls.__subclasses__()
    direct = {child for child in children if child.__module__ == "fanlight.errors"}
    return direct.union(*(_subclasses(child) for child in direct))


def test_the_version_is_the_distributions() -> None:
    """`fanlight.__version__` is what was installed."""
    assert fanlight.__version__ == version("fanlight")


@pytest.mark.slow
def test_the_sdk_needs_no_library_of_the_programs() -> None:
    """The client works where only its own four dependencies are installed."""
    command = [sys.executable, "-c", LOADED]
    loaded = set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert {"fanlight", "grpc", "google", "numpy", "tqdm"} <= loaded
    assert loaded.isdisjoint(PROGRAMS_LIBRARIES)
