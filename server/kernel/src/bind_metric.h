// Metrics by their names.
#pragma once

#include <pybind11/pybind11.h>

#include <string>

#include "metric.h"

namespace fanlight {

inline Metric metric_of(const std::string& name) {
  if (name == "cosine") return Metric::cosine;
  if (name == "dot") return Metric::dot;
  if (name == "l2") return Metric::l2;
  throw pybind11::value_error("metric: expected cosine, dot or l2, got " + name);
}

}  // namespace fanlight
