#include "bind_kept.h"

#include <cmath>
#include <utility>

#include "bind_metric.h"
#include "codes.h"

namespace fanlight {

KeptRows::KeptRows(const std::string& metric, const py::object& vectors_,
                   const py::object& lengths_, const py::object& order_, const py::object& codes_)
    : vectors(vectors_, "vectors", {kAny, kAny}) {
  view.metric = metric_of(metric);
  view.count = checked_range("vectors: rows", vectors.extent(0), 0, kMaxRows);
  view.dim = checked_range("vectors: dim", vectors.extent(1), 1, kMaxDim);
  view.vectors = vectors.data();
  view.code_stride = code_bytes(view.dim);
  const py::ssize_t count = extent_of(view.count);
  lengths = {lengths_, "lengths", {count}};
  view.lengths = lengths.data();
  if (!order_.is_none()) {
    order = {order_, "order", {count}};
    view.order = order.data();
  }
  if (!codes_.is_none()) {
    codes = {codes_, "codes", {count, extent_of(view.code_stride)}};
    view.codes = codes.data();
  }
}

namespace {

// Checks all links, which takes long for many: beside the interpreter.
Graph checked_graph(const Rows& rows, const GraphArrays& arrays, const Cells& cells) {
  const py::gil_scoped_release unlocked;
  return Graph(rows, arrays, cells);
}

}  // namespace

KeptCells::KeptCells(const py::object& value, std::size_t rows, std::size_t code_stride) {
  if (value.is_none()) return;
  const auto parts = value.cast<py::tuple>();
  if (parts.size() != 3) {
    throw py::value_error("cells: expected centres, bounds and rows, got " +
                          std::to_string(parts.size()) + " values");
  }
  centres = {parts[0], "cells: centres", {kAny, extent_of(code_stride)}};
  view.count = checked_range("cells: centres", extent_of(centres.extent(0)), 1, kMaxRows);
  bounds = {parts[1], "cells: bounds", {extent_of(view.count + 1)}};
  members = {parts[2], "cells: rows", {extent_of(rows)}};
  view.centres = centres.data();
  view.bounds = bounds.data();
  view.rows = members.data();
}

KeptGraph::KeptGraph(std::shared_ptr<KeptRows> rows_, const py::object& links_,
                     const py::object& levels_, const py::object& upper_, py::ssize_t entry_point,
                     py::ssize_t top_level, const py::object& cells_)
    : rows(std::move(rows_)),
      links(links_, "links", {extent_of(rows->view.count), kAny}),
      levels(levels_, "levels", {extent_of(rows->view.count)}),
      upper(upper_, "upper", {kAny, kAny}),
      cells(cells_, rows->view.count, rows->view.code_stride),
      graph(checked_graph(rows->view, arrays(entry_point, top_level), cells.view)) {}

GraphArrays KeptGraph::arrays(py::ssize_t entry_point, py::ssize_t top_level) const {
  GraphArrays arrays;
  arrays.links = links.data();
  arrays.link_width = checked_range("links: width", links.extent(1), 1, kMaxRows);
  arrays.levels = levels.data();
  arrays.upper = upper.data();
  arrays.upper_rows = checked_range("upper: rows", upper.extent(0), 0, kMaxRows);
  arrays.upper_width = checked_range("upper: width", upper.extent(1), 1, kMaxRows);
  arrays.entry_point =
      static_cast<std::uint32_t>(checked_range("entry_point", entry_point, 0, kMaxRows));
  arrays.top_level = static_cast<std::uint32_t>(checked_range("top_level", top_level, 0, 255));
  return arrays;
}

KeptAllowed::KeptAllowed(const py::object& value, const Rows& rows, std::size_t queries) {
  if (value.is_none()) return;
  bits = {value, "allowed", {extent_of((rows.count + 7) / 8)}};
  allowed.emplace(bits.data(), rows.count, queries);
}

// Query vectors, all of them finite.
Array<float> queries_of(const py::object& value, const Rows& rows) {
  Array<float> queries(value, "queries", {kAny, extent_of(rows.dim)});
  for (std::size_t query = 0; query < queries.extent(0); ++query) {
    if (!std::isfinite(largest_magnitude(queries.data() + query * rows.dim, rows.dim))) {
      throw py::value_error("queries: expected finite numbers, got another in query " +
                            std::to_string(query));
    }
  }
  return queries;
}

std::optional<Clock::time_point> deadline_of(std::optional<double> timeout_s) {
  // A year is as good as for ever, and fits the clock.
  constexpr double longest = 365.0 * 24 * 3600;
  if (!timeout_s) return std::nullopt;
  if (!(*timeout_s >= 0)) {
    throw py::value_error("timeout_s: expected 0 or more seconds, got " +
                          std::to_string(*timeout_s));
  }
  if (*timeout_s > longest) return std::nullopt;
  const std::chrono::duration<double> left(*timeout_s);
  return Clock::now() + std::chrono::duration_cast<Clock::duration>(left);
}

WalkOn walk_of(const std::string& name, const Rows& rows) {
  if (name == "vectors") return WalkOn::vectors;
  if (name != "codes") throw py::value_error("walk: expected codes or vectors, got " + name);
  if (!rows.codes) throw py::value_error("walk: expected rows that have codes");
  return WalkOn::codes;
}

// fanlight_kernel.Found, made as its _make does. Never released: modules outlive all calls.
py::object Answer::found(std::size_t done) const {
  static PyObject* const type =
      py::object(py::module_::import("fanlight_kernel.found").attr("Found")).release().ptr();
  const py::tuple fields = py::make_tuple(rows_, scores_, counts_, done);
  const py::tuple arguments = py::make_tuple(fields);
  PyObject* made =
      PyTuple_Type.tp_new(reinterpret_cast<PyTypeObject*>(type), arguments.ptr(), nullptr);
  if (!made) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(made);
}

QueryBatch batch_of(const Array<float>& queries, const Answer& answer, std::size_t threads) {
  const std::size_t share = (queries.extent(0) + threads - 1) / threads;
  return {queries.data(), [&answer](std::size_t query) { return answer.of(query); },
          std::clamp<std::size_t>(share, 1, kMaxScanGroup)};
}

}  // namespace fanlight
