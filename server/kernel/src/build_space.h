// Rows of a graph under construction, compared with one another by their codes alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "metric.h"
#include "rows.h"
#include "simd.h"

namespace fanlight {

// A neighbour, or a row that may become one. Nearness is larger for nearer rows: an estimate of
// the product, the cosine, or half of the negative squared distance. It is never NaN.
struct Link {
  std::uint32_t row;
  float nearness;
};

// The rows of a graph as codes, see codes.h.
struct CodeSpace {
  Metric metric;
  CodeTable table;
  std::size_t rows;

  const std::uint8_t* record(std::uint32_t row) const { return table.records + row * table.stride; }
};

// One row, made ready to be compared with others. For one thread.
class Probe {
 public:
  explicit Probe(const CodeSpace& space);

  // Compare this row from now on.
  void aim(std::uint32_t row);

  // How near other rows are to it. Comparing in the other direction gives the same up to the
  // rounding of float32.
  void compare(const std::uint32_t* rows, std::size_t count, float* nearness) const {
    compare(space_.table, rows, count, nearness);
  }

  // The same of records that are not in the space.
  void compare(const CodeTable& table, const std::uint32_t* rows, std::size_t count,
               float* nearness) const;

 private:
  CodeSpace space_;
  CodeKeys keys_;
  std::vector<std::int8_t> codes_;
  CodeQuery query_{};
  float weight_ = 1;  // from a key to nearness, together with
  float addend_ = 0;
};

}  // namespace fanlight
