#include <pybind11/stl.h>

#include <limits>
#include <memory>
#include <optional>

#include "batch.h"
#include "bind.h"
#include "bind_kept.h"
#include "bind_metric.h"
#include "codes.h"
#include "scan.h"
#include "search.h"
#include "thread_pool.h"

namespace fanlight {
namespace {

py::array_t<float> score(const KeptRows& self, const py::object& queries_,
                         const py::object& chosen_) {
  const Rows& rows = self.view;
  const Array<float> queries = queries_of(queries_, rows);
  const Array<std::int64_t> chosen(chosen_, "rows", {extent_of(queries.extent(0)), kAny});
  const std::size_t width = chosen.extent(1);
  std::vector<std::uint32_t> present;
  for (std::size_t i = 0; i < queries.extent(0) * width; ++i) {
    checked_range("rows", chosen.data()[i], -1, extent_of(rows.count) - 1);
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

py::object scan(const KeptRows& self, const py::object& queries_, py::ssize_t k_,
                const py::object& allowed_, py::ssize_t threads_, std::optional<double> timeout_s,
                bool codes) {
  const Rows& rows = self.view;
  const Array<float> queries = queries_of(queries_, rows);
  const std::size_t k = checked_range("k", k_, 1, kMaxRows);
  const std::size_t threads = checked_range("threads", threads_, 1, kMaxThreads);
  const auto deadline = deadline_of(timeout_s);
  if (codes && !rows.codes) throw py::value_error("codes: expected rows that have codes");
  const KeptAllowed kept(allowed_, rows, queries.extent(0));
  const Answer answer(queries.extent(0), k);
  std::size_t done = 0;
  {
    const py::gil_scoped_release unlocked;
    const ScanPlan plan{{k, codes}, chosen_of(rows, kept.get())};
    const QueryBatch batch = batch_of(queries, answer, threads);
    done = answer_batch(queries.extent(0), threads, batch.scan_group, deadline,
                        [&](Claims& claims) { fanlight::scan(rows, plan, batch, claims); });
  }
  return answer.found(done);
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
  const KeptAllowed kept(allowed_, rows, queries.extent(0));
  const Answer answer(queries.extent(0), k);
  std::size_t done = 0;
  {
    const py::gil_scoped_release unlocked;
    const SearchPlan plan(self.graph, k, ef, walk, kept.get());
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
  const Array<double> lengths(lengths_, "lengths", {extent_of(count)});
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

void start_threads(py::ssize_t count) {
  const std::size_t helpers = checked_range("count", count, 0, kMaxThreads);
  py::gil_scoped_release release;
  start_helpers(helpers);
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
  py::class_<KeptGraph, std::shared_ptr<KeptGraph>>(module, "Graph")
      .def(py::init<std::shared_ptr<KeptRows>, const py::object&, const py::object&,
                    const py::object&, py::ssize_t, py::ssize_t, const py::object&>(),
           py::arg("rows"), py::arg("links"), py::arg("levels"), py::arg("upper"),
           py::arg("entry_point"), py::arg("top_level"), py::arg("cells") = py::none())
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
  module.def("start_threads", start_threads, py::arg("count"));
  module.def("code_bytes", checked_code_bytes, py::arg("dim"));
  module.def("encode", encode, py::arg("metric"), py::arg("vectors"), py::arg("lengths"));
  module.def("lengths", lengths, py::arg("vectors"));
  bind_rows(module);
  bind_graph(module);
}

}  // namespace fanlight
