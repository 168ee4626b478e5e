#include <algorithm>
#include <mutex>
#include <stdexcept>
#include <string>

#include "bind.h"
#include "bind_kept.h"
#include "bind_space.h"
#include "build_cells.h"
#include "cells.h"

namespace fanlight {
namespace {

// A builder of cells and the codes that it compares. What takes long is done without the
// interpreter's lock, as by the builder of graphs.
class KeptCellBuilder {
 public:
  KeptCellBuilder(const std::string& metric, const py::object& codes, py::ssize_t dim,
                  py::ssize_t cells, const py::object& base)
      : codes_(codes_of(codes, dim)),
        builder_(begun(space_of(metric, codes_, dim), cells, base)) {}

  std::size_t steps() const { return builder_.steps(); }
  std::size_t done() const { return builder_.done(); }

  double add(py::ssize_t stop_, py::ssize_t threads_, double patience_s) {
    const std::size_t stop = checked_range("stop", stop_, 0, extent_of(builder_.steps()));
    const std::size_t threads = checked_range("threads", threads_, 1, kMaxThreads);
    const auto patience = patience_of(patience_s);
    const py::gil_scoped_release unlocked;
    const std::lock_guard<std::mutex> lock(calls_);
    return builder_.add(stop, threads, patience);
  }

  py::tuple finish() const {
    if (done() < steps()) {
      throw std::logic_error("expected all " + std::to_string(steps()) + " steps to be done, got " +
                             std::to_string(done()));
    }
    py::array_t<std::uint8_t> centres({builder_.cells(), codes_.extent(1)});
    py::array_t<std::uint32_t> bounds(extent_of(builder_.cells() + 1));
    py::array_t<std::uint32_t> rows(extent_of(codes_.extent(0)));
    std::uint32_t* const bound_at = bounds.mutable_data();
    std::uint32_t* const row_at = rows.mutable_data();
    std::copy(builder_.centres().begin(), builder_.centres().end(), centres.mutable_data());
    {
      const py::gil_scoped_release unlocked;
      builder_.copy_rows(bound_at, row_at);
    }
    return py::make_tuple(centres, bounds, rows);
  }

 private:
  static CellBuilder begun(const CodeSpace& space, py::ssize_t cells, const py::object& base) {
    if (base.is_none()) {
      return CellBuilder(space, checked_range("cells", cells, 1, extent_of(space.rows)));
    }
    const auto parts = base.cast<py::tuple>();
    if (parts.size() != 3) {
      throw py::value_error("base: expected centres, bounds and rows, got " +
                            std::to_string(parts.size()) + " values");
    }
    const py::ssize_t members = extent_of(py::len(parts[2]));
    const std::size_t rows = checked_range("base: rows", members, 1, extent_of(space.rows));
    const KeptCells kept(base, rows, space.table.stride);
    check_cells(kept.view, rows);
    return CellBuilder(space, kept.view, rows);
  }

  Array<std::uint8_t> codes_;
  CellBuilder builder_;
  std::mutex calls_;
};

}  // namespace

void bind_cells(py::module_& module) {
  py::class_<KeptCellBuilder>(module, "CellBuilder")
      .def(py::init<const std::string&, const py::object&, py::ssize_t, py::ssize_t,
                    const py::object&>(),
           py::arg("metric"), py::arg("codes"), py::arg("dim"), py::arg("cells"), py::kw_only(),
           py::arg("base") = py::none())
      .def_property_readonly("steps", &KeptCellBuilder::steps)
      .def("__len__", &KeptCellBuilder::done)
      .def("add", &KeptCellBuilder::add, py::arg("stop"), py::arg("threads"),
           py::arg("patience_s") = 0.0)
      .def("finish", &KeptCellBuilder::finish);
}

}  // namespace fanlight
