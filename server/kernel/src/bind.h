// What each part of the module adds to it.
#pragma once

#include <pybind11/pybind11.h>

namespace fanlight {

void bind_search(pybind11::module_& module);  // levels, codes, Rows, Graph
void bind_parts(pybind11::module_& module);   // Parts
void bind_build(pybind11::module_& module);   // the builder of graphs
void bind_cells(pybind11::module_& module);   // the builder of cells
void bind_ids(pybind11::module_& module);     // rows by id

}  // namespace fanlight
