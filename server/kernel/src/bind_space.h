// What the builders of graphs and of cells are called with.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>

#include "bind_arrays.h"
#include "bind_metric.h"
#include "build_space.h"
#include "codes.h"

namespace fanlight {

// Codes of vectors of so many elements.
inline Array<std::uint8_t> codes_of(const py::object& value, py::ssize_t dim) {
  const std::size_t bytes = code_bytes(checked_range("dim", dim, 1, kMaxDim));
  return {value, "codes", {kAny, static_cast<py::ssize_t>(bytes)}};
}

inline CodeSpace space_of(const std::string& metric, const Array<std::uint8_t>& codes,
                          py::ssize_t dim) {
  return {metric_of(metric),
          {codes.data(), codes.extent(1), static_cast<std::size_t>(dim),
           rows_ahead(codes.extent(0), codes.extent(1), simd().walks_ask_from)},
          checked_range("codes: rows", static_cast<py::ssize_t>(codes.extent(0)), 1, kMaxRows)};
}

inline std::chrono::duration<double> patience_of(double seconds) {
  constexpr int kMost = 86'400;
  if (!(seconds >= 0 && seconds <= kMost)) {
    throw py::value_error("patience_s: expected 0 to " + std::to_string(kMost) + ", got " +
                          std::to_string(seconds));
  }
  return std::chrono::duration<double>(seconds);
}

}  // namespace fanlight
