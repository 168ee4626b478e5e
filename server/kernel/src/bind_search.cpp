#include <pybind11/stl.h>

#include <cmath>
#include <limits>
#include <memory>
#include <optional>

#include "allowed.h"
#include "batch.h"
#include "bind.h"
#include "bind_arrays.h"
#include "codes.h"
#include "graph.h"
#include "scan.h"
#include "search.h"

namespace fanlight {
namespace {

constexpr py::ssize_t kMaxThreads = 256;

Metric metric_of(const std::string& name) {
  if (name == "cosine") return Metric::cosine;
  if (name == "dot") return Metric::dot;
  if (name == "l2") return Metric::l2;
  throw py::value_error("metric: expected cosine, dot or l2, got " + name);
}

py::ssize_t rows_expected(std::size_t count) { return static_cast<py::ssize_t>(count); }

// Rows and the arrays they lie in.
struct KeptRows {
  KeptRows(const std::string& metric, const py::object& vectors_, const py::object& lengths_,
           const py::object& order_, const py::object& codes_)
      : vectors(vectors_, "vectors", {kAny, kAny}) {
    view.metric = metric_of(metric);
    view.count = checked_range("vectors: rows", vectors.extent(0), 0, kMaxRows);
    view.dim = checked_range("vectors: dim", vectors.extent(1), 1, kMaxDim);
    view.vectors = vectors.data();
    view.code_stride = code_bytes(view.dim);
    const py::ssize_t count = rows_expected(view.count);
    lengths = {lengths_, "lengths", {count}};
    view.lengths = lengths.data();
    if (!order_.is_none()) {
      order = {order_, "order", {count}};
      view.order = order.data();
    }
    if (!codes_.is_none()) {
      codes = {codes_, "codes", {count, rows_expected(view.code_stride)}};
      view.codes = codes.data();
    }
  }

  Array<float> vectors;
  Array<double> lengths;
  Array<std::int64_t> order;
  Array<std::uint8_t> codes;
  Rows view;
};

// A graph and what it stands on.
struct KeptGraph {
  KeptGraph(std::shared_ptr<KeptRows> rows_, const py::object& links_, const py::object& levels_,
            const py::object& upper_, py::ssize_t entry_point, py::ssize_t top_level)
      : rows(std::move(rows_)),
        links(links_, "links", {rows_expected(rows->view.count), kAny}),
        levels(levels_, "levels", {rows_expected(rows->view.count)}),
        upper(upper_, "upper", {kAny, kAny}),
        graph(rows->view, arrays(entry_point, top_level)) {}

  std::shared_ptr<KeptRows> rows;
  Array<std::uint32_t> links;
  Array<std::uint8_t> levels;
  Array<std::uint32_t> upper;
  Graph graph;

 private:
  GraphArrays arrays(py::ssize_t entry_point, py::ssize_t top_level) const {
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
};

// Query vectors, all of them finite.
Array<float> queries_of(const py::object& value, const Rows& rows) {
  Array<float> queries(value, "queries", {kAny, rows_expected(rows.dim)});
  for (std::size_t query = 0; query < queries.extent(0); ++query) {
    if (!std::isfinite(largest_magnitude(queries.data() + query * rows.dim, rows.dim))) {
      throw py::value_error("queries: expected finite numbers, got another in query " +
                            std::to_string(query));
    }
  }
  return queries;
}

// The bitmap of rows that may be returned, if there is one.
struct KeptAllowed {
  KeptAllowed(const py::object& value, const Rows& rows) {
    if (value.is_none()) return;
    bits = {value, "allowed", {rows_expected((rows.count + 7) / 8)}};
    allowed.emplace(bits.data(), rows.count);
  }

  Array<std::uint8_t> bits;
  std::optional<Allowed> allowed;
};

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

// The answer of a call: filled by rows, then handed out as a Found.
class Answer {
 public:
  Answer(std::size_t queries, std::size_t k)
      : k_(k),
        rows_({queries, k}),
        scores_({queries, k}),
        counts_(static_cast<py::ssize_t>(queries)),
        row_at_(rows_.mutable_data()),
        score_at_(scores_.mutable_data()),
        count_at_(counts_.mutable_data()) {
    std::fill_n(row_at_, queries * k, -1);
    std::fill_n(score_at_, queries * k, std::numeric_limits<float>::quiet_NaN());
    std::fill_n(count_at_, queries, -1);
  }

  HitsOut of(std::size_t query) const {
    return {row_at_ + query * k_, score_at_ + query * k_, count_at_ + query, k_};
  }

  py::object found(std::size_t done) const;

 private:
  std::size_t k_;
  py::array_t<std::int64_t> rows_;
  py::array_t<float> scores_;
  py::array_t<std::int64_t> counts_;
  std::int64_t* row_at_;
  float* score_at_;
  std::int64_t* count_at_;
};

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

py::array_t<float> score(const KeptRows& self, const py::object& queries_,
                         const py::object& chosen_) {
  const Rows& rows = self.view;
  const Array<float> queries = queries_of(queries_, rows);
  const Array<std::int64_t> chosen(chosen_, "rows", {rows_expected(queries.extent(0)), kAny});
  const std::size_t width = chosen.extent(1);
  std::vector<std::uint32_t> present;
  for (std::size_t i = 0; i < queries.extent(0) * width; ++i) {
    checked_range("rows", chosen.data()[i], -1, rows_expected(rows.count) - 1);
  }
  py::array_t<float> scores({queries.extent(0), width});
  float* out = scores.mutable_data();
  const py::gil_scoped_release unlocked;
  std::vector<float> some(width);
  for (std::size_t query = 0; query < queries.extent(0); ++query) {
    const float* vector = queries.data() + query * rows.dim;
    const std::int64_t* wanted = chosen.data() + query * width;
    present.clear();
    for (std::size_t i = 0; i < width; ++i) {
      if (wanted[i] >= 0) present.push_back(static_cast<std::uint32_t>(wanted[i]));
    }
    score_rows(rows, vector, length_of(vector, rows.dim), present.data(), present.size(),
               some.data());
    const float* next = some.data();
    for (std::size_t i = 0; i < width; ++i) {
      out[query * width + i] = wanted[i] >= 0 ? *next++ : std::numeric_limits<float>::quiet_NaN();
    }
  }
  return scores;
}

Chosen chosen_of(const Rows& rows, const std::optional<Allowed>& allowed) {
  if (!allowed) return {nullptr, rows.count};
  return {allowed->rows().data(), allowed->count()};
}

// As many queries are scanned together as leave work for all threads.
QueryBatch batch_of(const Array<float>& queries, const Answer& answer, std::size_t threads) {
  const std::size_t share = (queries.extent(0) + threads - 1) / threads;
  return {queries.data(), [&answer](std::size_t query) { return answer.of(query); },
          std::clamp<std::size_t>(share, 1, kMaxScanGroup)};
}

py::object scan(const KeptRows& self, const py::object& queries_, py::ssize_t k_,
                const py::object& allowed_, py::ssize_t threads_, std::optional<double> timeout_s,
                bool codes) {
  const Rows& rows = self.view;
  const Array<float> queries = queries_of(queries_, rows);
  const std::size_t k = checked_range("k", k_, 1, kMaxRows);
  const std::size_t threads = checked_range("threads", threads_, 1, kMaxThreads);
  const auto deadline = deadline_of(timeout_s);
  if (codes && !rows.codes) throw py::value_error("codes: expected rows that have codes");
  const KeptAllowed kept(allowed_, rows);
  const Answer answer(queries.extent(0), k);
  std::size_t done = 0;
  {
    const py::gil_scoped_release unlocked;
    const ScanPlan plan{k, chosen_of(rows, kept.allowed), codes};
    const QueryBatch batch = batch_of(queries, answer, threads);
    done = answer_batch(queries.extent(0), threads, batch.scan_group, deadline,
                        [&](Claims& claims) { fanlight::scan(rows, plan, batch, claims); });
  }
  return answer.found(done);
}

WalkOn walk_of(const std::string& name, const Rows& rows) {
  if (name == "vectors") return WalkOn::vectors;
  if (name != "codes") throw py::value_error("walk: expected codes or vectors, got " + name);
  if (!rows.codes) throw py::value_error("walk: expected rows that have codes");
  return WalkOn::codes;
}

py::object search_graph(const KeptGraph& self, const py::object& queries_, py::ssize_t k_,
                        py::ssize_t ef_, const py::object& allowed_, const std::string& walk_,
                        py::ssize_t threads_, std::optional<double> timeout_s) {
  const Rows& rows = self.graph.rows();
  const Array<float> queries = queries_of(queries_, rows);
  const std::size_t k = checked_range("k", k_, 1, kMaxRows);
  const std::size_t ef = checked_range("ef", ef_, 1, kMaxRows);
  const std::size_t threads = checked_range("threads", threads_, 1, kMaxThreads);
  const WalkOn walk = walk_of(walk_, rows);
  const auto deadline = deadline_of(timeout_s);
  const KeptAllowed kept(allowed_, rows);
  const Answer answer(queries.extent(0), k);
  std::size_t done = 0;
  {
    const py::gil_scoped_release unlocked;
    const SearchPlan plan(self.graph, k, ef, walk, kept.allowed);
    const QueryBatch batch = batch_of(queries, answer, threads);
    done = answer_batch(queries.extent(0), threads, 1, deadline,
                        [&](Claims& claims) { search(self.graph, plan, batch, claims); });
  }
  return answer.found(done);
}

py::array_t<std::uint8_t> encode(const std::string& metric_, const py::object& vectors_,
                                 const py::object& lengths_) {
  const Metric metric = metric_of(metric_);
  const Array<float> vectors(vectors_, "vectors", {kAny, kAny});
  const std::size_t dim = checked_range("vectors: dim", vectors.extent(1), 1, kMaxDim);
  const std::size_t count = vectors.extent(0);
  const Array<double> lengths(lengths_, "lengths", {rows_expected(count)});
  const std::size_t stride = code_bytes(dim);
  py::array_t<std::uint8_t> codes({count, stride});
  std::uint8_t* out = codes.mutable_data();
  std::size_t row = 0;
  {
    const py::gil_scoped_release unlocked;
    while (row < count && encode_row(metric, vectors.data() + row * dim, lengths.data()[row], dim,
                                     out + row * stride)) {
      ++row;
    }
  }
  if (row < count) {
    throw py::value_error("vectors: expected finite vectors and lengths, got another at row " +
                          std::to_string(row));
  }
  return codes;
}

py::array_t<double> lengths(const py::object& vectors_) {
  const Array<float> vectors(vectors_, "vectors", {kAny, kAny});
  const std::size_t dim = checked_range("vectors: dim", vectors.extent(1), 1, kMaxDim);
  py::array_t<double> result(static_cast<py::ssize_t>(vectors.extent(0)));
  double* out = result.mutable_data();
  const py::gil_scoped_release unlocked;
  for (std::size_t row = 0; row < vectors.extent(0); ++row) {
    out[row] = length_of(vectors.data() + row * dim, dim);
  }
  return result;
}

std::vector<std::string> levels() {
  std::vector<std::string> names;
  for (const char* const* name = simd_levels(); *name; ++name) names.emplace_back(*name);
  return names;
}

void use_simd(const std::string& level) {
  if (force_simd(level.c_str())) return;
  std::string known;
  for (const std::string& name : levels()) known += (known.empty() ? "" : ", ") + name;
  throw py::value_error("simd: expected one of " + known + ", got " + level);
}

// For tests, which run all levels of the machine in processes of their own.
void use_simd_of_environment() {
  const char* level = std::getenv("FANLIGHT_KERNEL_SIMD");
  if (level && *level) use_simd(level);
}

std::size_t checked_code_bytes(py::ssize_t dim) {
  return code_bytes(checked_range("dim", dim, 1, kMaxDim));
}

void bind_rows(py::module_& module) {
  py::class_<KeptRows, std::shared_ptr<KeptRows>>(module, "Rows")
      .def(py::init<const std::string&, const py::object&, const py::object&, const py::object&,
                    const py::object&>(),
           py::arg("metric"), py::arg("vectors"), py::arg("lengths"), py::arg("order"),
           py::arg("codes") = py::none())
      .def("__len__", [](const KeptRows& self) { return self.view.count; })
      .def("scan", scan, py::arg("queries"), py::arg("k"), py::arg("allowed") = py::none(),
           py::kw_only(), py::arg("threads") = 1, py::arg("timeout_s") = py::none(),
           py::arg("codes") = false)
      .def("score", score, py::arg("queries"), py::arg("rows"));
}

void bind_graph(py::module_& module) {
  py::class_<KeptGraph>(module, "Graph")
      .def(py::init<std::shared_ptr<KeptRows>, const py::object&, const py::object&,
                    const py::object&, py::ssize_t, py::ssize_t>(),
           py::arg("rows"), py::arg("links"), py::arg("levels"), py::arg("upper"),
           py::arg("entry_point"), py::arg("top_level"))
      .def("__len__", [](const KeptGraph& self) { return self.graph.rows().count; })
      .def("search", search_graph, py::arg("queries"), py::arg("k"), py::arg("ef"),
           py::arg("allowed") = py::none(), py::kw_only(), py::arg("walk") = "codes",
           py::arg("threads") = 1, py::arg("timeout_s") = py::none());
}

}  // namespace

void bind_search(py::module_& module) {
  use_simd_of_environment();
  module.attr("CODE_EXTRA") = kCodeExtra;
  module.def("simd", [] { return simd().name; });
  module.def("simd_levels", levels);
  module.def("use_simd", use_simd, py::arg("level"));
  module.def("code_bytes", checked_code_bytes, py::arg("dim"));
  module.def("encode", encode, py::arg("metric"), py::arg("vectors"), py::arg("lengths"));
  module.def("lengths", lengths, py::arg("vectors"));
  bind_rows(module);
  bind_graph(module);
}

}  // namespace fanlight
