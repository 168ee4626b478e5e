#include <pybind11/stl.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "bind.h"
#include "bind_arrays.h"
#include "bind_metric.h"
#include "build.h"
#include "codes.h"

namespace fanlight {
namespace {

constexpr py::ssize_t kMaxThreads = 256;
constexpr py::ssize_t kMaxM = 1024;

py::ssize_t extent_of(std::size_t count) { return static_cast<py::ssize_t>(count); }

py::ssize_t record_bytes(py::ssize_t dim) {
  return extent_of(code_bytes(checked_range("dim", dim, 1, kMaxDim)));
}

// A graph to extend, checked, and the arrays it lies in.
struct KeptBase {
  KeptBase(const py::tuple& base, const CodeSpace& space, std::size_t m) {
    if (base.size() != 5) {
      throw py::value_error("base: expected links, levels, upper, entry_point and top_level, got " +
                            std::to_string(base.size()) + " values");
    }
    links = {base[0], "base: links", {kAny, extent_of(1 + 2 * m)}};
    rows = checked_range("base: rows", extent_of(links.extent(0)), 1, extent_of(space.rows));
    levels = {base[1], "base: levels", {extent_of(rows)}};
    upper = {base[2], "base: upper", {kAny, extent_of(1 + m)}};
    arrays.links = links.data();
    arrays.link_width = 1 + 2 * m;
    arrays.levels = levels.data();
    arrays.upper = upper.data();
    arrays.upper_rows = upper.extent(0);
    arrays.upper_width = 1 + m;
    arrays.entry_point = word_of(base[3], "base: entry_point");
    arrays.top_level = word_of(base[4], "base: top_level");
    Rows checked;
    checked.count = rows;
    Graph(checked, arrays);
  }

  Array<std::uint32_t> links;
  Array<std::uint8_t> levels;
  Array<std::uint32_t> upper;
  GraphArrays arrays;
  std::size_t rows = 0;

 private:
  static std::uint32_t word_of(const py::object& value, const char* name) {
    return static_cast<std::uint32_t>(
        checked_range(name, value.cast<py::ssize_t>(), 0, kMaxRows));
  }
};

// A builder and the codes that it compares.
class KeptBuilder {
 public:
  KeptBuilder(const std::string& metric, const py::object& codes, py::ssize_t dim_, py::ssize_t m_,
              py::ssize_t ef_construction, std::uint64_t seed, const std::optional<py::tuple>& base)
      : codes_(codes, "codes", {kAny, record_bytes(dim_)}) {
    const std::size_t m = checked_range("m", m_, 2, kMaxM);
    const std::size_t ef = checked_range("ef_construction", ef_construction, 1, kMaxRows);
    const CodeSpace space{metric_of(metric),
                          {codes_.data(), codes_.extent(1), static_cast<std::size_t>(dim_)},
                          checked_range("codes: rows", extent_of(codes_.extent(0)), 1, kMaxRows)};
    const BuildOptions options{m, ef, seed};
    if (base) {
      const KeptBase kept(*base, space, m);
      const py::gil_scoped_release unlocked;
      builder_ = std::make_unique<GraphBuilder>(space, options, kept.arrays, kept.rows);
    } else {
      const py::gil_scoped_release unlocked;
      builder_ = std::make_unique<GraphBuilder>(space, options);
    }
  }

  std::size_t added() const { return builder_->added(); }

  void add(py::ssize_t stop, py::ssize_t threads) {
    const std::size_t rows = checked_range("stop", stop, 0, extent_of(codes_.extent(0)));
    const std::size_t workers = checked_range("threads", threads, 1, kMaxThreads);
    const py::gil_scoped_release unlocked;
    builder_->add(rows, workers);
  }

  py::tuple finish() {
    {
      const py::gil_scoped_release unlocked;
      builder_->finish();
    }
    const Adjacency& graph = builder_->adjacency();
    const std::size_t m = graph.capacity(1);
    py::array_t<std::uint32_t> links({graph.rows(), 1 + 2 * m});
    py::array_t<std::uint32_t> upper({graph.upper_lists(), 1 + m});
    py::array_t<std::uint8_t> levels(extent_of(graph.rows()));
    graph.copy_links(links.mutable_data());
    graph.copy_upper(upper.mutable_data());
    std::copy(graph.levels().begin(), graph.levels().end(), levels.mutable_data());
    const Entry entry = builder_->entry();
    return py::make_tuple(links, levels, upper, entry.row, entry.level);
  }

 private:
  Array<std::uint8_t> codes_;
  std::unique_ptr<GraphBuilder> builder_;
};

}  // namespace

void bind_build(py::module_& module) {
  py::class_<KeptBuilder>(module, "Builder")
      .def(py::init<const std::string&, const py::object&, py::ssize_t, py::ssize_t, py::ssize_t,
                    std::uint64_t, const std::optional<py::tuple>&>(),
           py::arg("metric"), py::arg("codes"), py::arg("dim"), py::arg("m"),
           py::arg("ef_construction"), py::kw_only(), py::arg("seed") = 0,
           py::arg("base") = py::none())
      .def("__len__", &KeptBuilder::added)
      .def("add", &KeptBuilder::add, py::arg("stop"), py::arg("threads"))
      .def("finish", &KeptBuilder::finish);
}

}  // namespace fanlight
