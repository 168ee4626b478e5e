#include <pybind11/stl.h>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <limits>
#include <memory>
#include <optional>
#include <vector>

#include "bind.h"
#include "bind_kept.h"
#include "parts.h"

namespace fanlight {
namespace {

// Queries that a thread takes through all parts together, at most: enough to scan them in groups
// and to overlap walks, few enough to look at the time often and to leave work for other threads.
constexpr std::size_t kAtOnce = 16;

// Parts and what keeps them alive.
class KeptParts {
 public:
  explicit KeptParts(const py::sequence& parts) {
    for (const py::handle part : parts) {
      if (py::isinstance<KeptGraph>(part)) {
        const auto graph = part.cast<std::shared_ptr<KeptGraph>>();
        graphs_.push_back(graph);
        add(graph->rows, &graph->graph);
      } else {
        add(part.cast<std::shared_ptr<KeptRows>>(), nullptr);
      }
    }
    if (parts_.empty()) throw py::value_error("parts: expected at least one");
    if (rows() > std::numeric_limits<std::uint32_t>::max()) {
      throw py::value_error("parts: expected fewer than 2**32 rows, got " + std::to_string(rows()));
    }
  }

  std::size_t rows() const {
    std::size_t sum = 0;
    for (const Part& part : parts_) sum += part.rows->count;
    return sum;
  }

  py::object search(const py::object& queries_, py::ssize_t k_, std::optional<py::ssize_t> ef_,
                    const std::optional<py::sequence>& allowed, const std::string& walk,
                    py::ssize_t threads_, std::optional<double> timeout_s) const;

 private:
  void add(const std::shared_ptr<KeptRows>& rows, const Graph* graph) {
    const Rows& view = rows->view;
    if (!view.order || !view.codes) throw py::value_error("parts: expected order and codes");
    const Rows& first = parts_.empty() ? view : *parts_.front().rows;
    if (view.dim != first.dim || view.metric != first.metric) {
      throw py::value_error("parts: expected one dim and one metric");
    }
    rows_.push_back(rows);
    parts_.push_back({&view, graph, nullptr});
  }

  // The same parts, as far as their rows are allowed; `kept` keeps what allows them.
  std::vector<Part> allowed_parts(const std::optional<py::sequence>& allowed, std::size_t queries,
                                  std::deque<KeptAllowed>& kept) const {
    std::vector<Part> parts = parts_;
    if (!allowed) return parts;
    if (allowed->size() != parts.size()) {
      throw py::value_error("allowed: expected one for each of " + std::to_string(parts.size()) +
                            " parts, got " + std::to_string(allowed->size()));
    }
    for (std::size_t i = 0; i < parts.size(); ++i) {
      kept.emplace_back((*allowed)[i], *parts[i].rows, queries);
      parts[i].allowed = kept.back().get();
    }
    return parts;
  }

  std::vector<std::shared_ptr<KeptRows>> rows_;
  std::vector<std::shared_ptr<KeptGraph>> graphs_;
  std::vector<Part> parts_;
};

py::object KeptParts::search(const py::object& queries_, py::ssize_t k_,
                             std::optional<py::ssize_t> ef_,
                             const std::optional<py::sequence>& allowed, const std::string& walk,
                             py::ssize_t threads_, std::optional<double> timeout_s) const {
  const Rows& any = *parts_.front().rows;
  const Array<float> queries = queries_of(queries_, any);
  const std::size_t k = checked_range("k", k_, 1, kMaxRows);
  const std::size_t threads = checked_range("threads", threads_, 1, kMaxThreads);
  PartsPlan plan{k, std::nullopt, walk_of(walk, any), 1};
  if (ef_) plan.ef = checked_range("ef", *ef_, 1, kMaxRows);
  const auto deadline = deadline_of(timeout_s);
  std::deque<KeptAllowed> kept;
  const std::vector<Part> parts = allowed_parts(allowed, queries.extent(0), kept);
  const Answer answer(queries.extent(0), k);
  std::size_t done = 0;
  {
    const py::gil_scoped_release unlocked;
    const QueryBatch batch = batch_of(queries, answer, threads);
    plan.at_once = plan.ef ? std::clamp<std::size_t>(queries.extent(0) / threads, 1, kAtOnce)
                           : batch.scan_group;
    done = answer_batch(queries.extent(0), threads, plan.at_once, deadline,
                        [&](Claims& claims) { search_parts(parts, plan, batch, claims); });
  }
  return answer.found(done);
}

}  // namespace

void bind_parts(py::module_& module) {
  py::class_<KeptParts>(module, "Parts")
      .def(py::init<const py::sequence&>(), py::arg("parts"))
      .def("__len__", &KeptParts::rows)
      .def("search", &KeptParts::search, py::arg("queries"), py::arg("k"), py::arg("ef"),
           py::arg("allowed") = py::none(), py::kw_only(), py::arg("walk") = "codes",
           py::arg("threads") = 1, py::arg("timeout_s") = py::none());
}

}  // namespace fanlight
