#include <pybind11/stl.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <stdexcept>

#include "bind.h"
#include "bind_kept.h"
#include "bind_space.h"
#include "build.h"

namespace fanlight {
namespace {

constexpr py::ssize_t kMaxM = 1024;

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
  }

  // Throws std::invalid_argument when following the arrays could lead outside of them.
  void check() const {
    Rows all;
    all.count = rows;
    Graph(all, arrays);
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

// Room for the arrays of a finished graph.
struct BuiltArrays {
  explicit BuiltArrays(const Adjacency& graph)
      : links({graph.rows(), 1 + graph.capacity(0)}),
        levels(extent_of(graph.rows())),
        upper({graph.upper_lists(), 1 + graph.capacity(1)}),
        link_at(links.mutable_data()),
        level_at(levels.mutable_data()),
        upper_at(upper.mutable_data()) {}

  void fill(const Adjacency& graph) {
    graph.copy_links(link_at);
    graph.copy_upper(upper_at);
    std::copy(graph.levels().begin(), graph.levels().end(), level_at);
  }

  py::array_t<std::uint32_t> links;
  py::array_t<std::uint8_t> levels;
  py::array_t<std::uint32_t> upper;
  std::uint32_t* link_at;
  std::uint8_t* level_at;
  std::uint32_t* upper_at;
};

// A builder and the codes that it compares. Everything that takes long is done without the
// interpreter's lock: builds run at low priority, and a thread that waits for a core with the lock
// in its hands would hold up all searches.
class KeptBuilder {
 public:
  KeptBuilder(const std::string& metric, const py::object& codes, py::ssize_t dim_, py::ssize_t m_,
              py::ssize_t ef_construction, std::uint64_t seed, const std::optional<py::tuple>& base_)
      : codes_(codes_of(codes, dim_)) {
    const std::size_t m = checked_range("m", m_, 2, kMaxM);
    const std::size_t ef = checked_range("ef_construction", ef_construction, 1, kMaxRows);
    const CodeSpace space = space_of(metric, codes_, dim_);
    const BuildOptions options{m, ef, seed};
    std::optional<KeptBase> base;
    if (base_) base.emplace(*base_, space, m);
    const py::gil_scoped_release unlocked;
    if (base) {
      base->check();
      builder_ = std::make_shared<GraphBuilder>(space, options, base->arrays, base->rows);
    } else {
      builder_ = std::make_shared<GraphBuilder>(space, options);
    }
  }

  std::size_t steps() const { return codes_.extent(0); }

  std::size_t added() const { return builder_ ? builder_->added() : codes_.extent(0); }

  double add(py::ssize_t stop, py::ssize_t threads, double patience_s) {
    const std::size_t rows = checked_range("stop", stop, 0, extent_of(codes_.extent(0)));
    const std::size_t workers = checked_range("threads", threads, 1, kMaxThreads);
    const auto patience = patience_of(patience_s);
    const auto builder = open_builder();
    const py::gil_scoped_release unlocked;
    return builder->add(rows, workers, patience);
  }

  py::tuple finish() {
    auto builder = open_builder();
    {
      const py::gil_scoped_release unlocked;
      builder->finish();
    }
    BuiltArrays built(builder->adjacency());
    const Entry entry = builder->entry();
    builder_.reset();
    {
      const py::gil_scoped_release unlocked;
      built.fill(builder->adjacency());
      builder.reset();
    }
    return py::make_tuple(built.links, built.levels, built.upper, entry.row, entry.level);
  }

 private:
  // Calls of other threads may still be waiting for it when it is let go.
  std::shared_ptr<GraphBuilder> open_builder() const {
    if (!builder_) throw std::logic_error("the builder is closed: it was finished");
    return builder_;
  }

  Array<std::uint8_t> codes_;
  std::shared_ptr<GraphBuilder> builder_;  // null when finished
};

}  // namespace

void bind_build(py::module_& module) {
  py::class_<KeptBuilder>(module, "Builder")
      .def(py::init<const std::string&, const py::object&, py::ssize_t, py::ssize_t, py::ssize_t,
                    std::uint64_t, const std::optional<py::tuple>&>(),
           py::arg("metric"), py::arg("codes"), py::arg("dim"), py::arg("m"),
           py::arg("ef_construction"), py::kw_only(), py::arg("seed") = 0,
           py::arg("base") = py::none())
      .def_property_readonly("steps", &KeptBuilder::steps)
      .def("__len__", &KeptBuilder::added)
      .def("add", &KeptBuilder::add, py::arg("stop"), py::arg("threads"),
           py::arg("patience_s") = 0.0)
      .def("finish", &KeptBuilder::finish);
}

}  // namespace fanlight
