"""A collection as a map of two dimensions: to look at, and for the Embedding Projector.

`projection` finds places for vectors, `picture` draws them (it needs matplotlib), `projector`
writes the files that https://projector.tensorflow.org reads.
"""

from fanlight.mapping.projection import METHODS, project
from fanlight.mapping.projector import write_projector

__all__ = ["METHODS", "project", "write_projector"]
