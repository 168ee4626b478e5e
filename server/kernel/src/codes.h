// Rows and queries as 8-bit codes: a quarter of the bytes of float32, compared with integers.
//
// A row x becomes codes c = round(127 x / max|x|), held with an offset of 128 as unsigned bytes
// (the instructions multiply unsigned by signed bytes), and two float32 numbers:
//
//   scale = |x|^2 / (x . c) for dot and l2, |x| / (x . c) for cosine
//   half  = (x . c) / 2 for l2, otherwise 0
//
// A query q becomes codes b in the same way, with q ~ s b. The key of a row for a query,
//
//   key = scale * ((b . c) - half / s)
//
// estimates, up to a factor and an addend of the query alone, what its score orders by: q . x, the
// cosine, or q . x - |x|^2 / 2. With this scale the estimate is exact where q = x and its error
// grows with |q - x| (the estimator of RaBitQ, Gao and Long 2024, with 8 bits for one). A key
// never underflows where its vectors do not, and it is the same at every SIMD level: the sums
// are sums of integers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "metric.h"
#include "simd.h"

namespace fanlight {

// Bytes of a record beyond its codes: scale and half.
constexpr std::size_t kCodeExtra = 2 * sizeof(float);

// Bytes of the record of a row: codes, padded to a multiple of 4, then scale and half, padded to
// whole cache lines, so that a record touches as few of them as can be.
std::size_t code_bytes(std::size_t dim);

// The largest magnitude of the elements of a vector: infinite or NaN when one of them is.
float largest_magnitude(const float* vector, std::size_t dim);

// Encode one row into code_bytes(dim) bytes; false when it or its length is not finite.
bool encode_row(Metric metric, const float* vector, double length, std::size_t dim,
                std::uint8_t* record);

// The codes of one query, reused from query to query so that nothing is allocated for it.
class EncodedQuery {
 public:
  void encode(Metric metric, const float* vector, std::size_t dim);
  const CodeQuery& get() const { return query_; }

 private:
  std::vector<std::int8_t> values_;
  CodeQuery query_{};
};

}  // namespace fanlight
