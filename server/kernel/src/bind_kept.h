// What calls from Python are made of: rows, graphs and bitmaps with the arrays they lie in, and
// answers.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>

#include "allowed.h"
#include "batch.h"
#include "bind_arrays.h"
#include "cells.h"
#include "graph.h"
#include "hits.h"
#include "rows.h"
#include "scan.h"
#include "search_plan.h"

namespace fanlight {

constexpr py::ssize_t kMaxThreads = 256;

inline py::ssize_t extent_of(std::size_t count) { return static_cast<py::ssize_t>(count); }

// Rows and the arrays they lie in.
struct KeptRows {
  KeptRows(const std::string& metric, const py::object& vectors_, const py::object& lengths_,
           const py::object& order_, const py::object& codes_);

  Array<float> vectors;
  Array<double> lengths;
  Array<std::int64_t> order;
  Array<std::uint8_t> codes;
  Rows view;
};

// Cells and the arrays they lie in, if there are any.
struct KeptCells {
  // value: a tuple of centres, bounds and rows, or none.
  KeptCells(const py::object& value, std::size_t rows, std::size_t code_stride);

  Array<std::uint8_t> centres;
  Array<std::uint32_t> bounds;
  Array<std::uint32_t> members;
  Cells view;
};

// A graph and what it stands on.
struct KeptGraph {
  KeptGraph(std::shared_ptr<KeptRows> rows_, const py::object& links_, const py::object& levels_,
            const py::object& upper_, py::ssize_t entry_point, py::ssize_t top_level,
            const py::object& cells_);

  std::shared_ptr<KeptRows> rows;
  Array<std::uint32_t> links;
  Array<std::uint8_t> levels;
  Array<std::uint32_t> upper;
  KeptCells cells;
  Graph graph;

 private:
  GraphArrays arrays(py::ssize_t entry_point, py::ssize_t top_level) const;
};

// The bitmap of rows that may be returned, if there is one.
struct KeptAllowed {
  KeptAllowed(const py::object& value, const Rows& rows, std::size_t queries);

  const Allowed* get() const { return allowed ? &*allowed : nullptr; }

  Array<std::uint8_t> bits;
  std::optional<Allowed> allowed;
};

// Query vectors, all of them finite.
Array<float> queries_of(const py::object& value, const Rows& rows);

std::optional<Clock::time_point> deadline_of(std::optional<double> timeout_s);

WalkOn walk_of(const std::string& name, const Rows& rows);

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

// As many queries are scanned together as leave work for all threads.
QueryBatch batch_of(const Array<float>& queries, const Answer& answer, std::size_t threads);

}  // namespace fanlight
