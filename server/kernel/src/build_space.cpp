#include "build_space.h"

#include <algorithm>
#include <cstring>
#include <limits>

namespace fanlight {
namespace {

constexpr float kLowest = std::numeric_limits<float>::lowest();
constexpr float kLargest = std::numeric_limits<float>::max();

}  // namespace

Probe::Probe(const CodeSpace& space)
    : space_(space), keys_(simd().code_keys), codes_((space.table.dim + 63) / 64 * 64, 0) {}

void Probe::aim(std::uint32_t row) {
  const std::size_t dim = space_.table.dim;
  const std::uint8_t* record = space_.record(row);
  std::int32_t sum = 0;
  for (std::size_t i = 0; i < dim; ++i) {
    codes_[i] = static_cast<std::int8_t>(record[i] - 128);
    sum += codes_[i];
  }
  float tail[2];  // scale and half, see codes.h
  std::memcpy(tail, record + (dim + 3) / 4 * 4, sizeof tail);
  // A zero row has scale 0. Its products are 0 with any weight; what is left of its distances are
  // the lengths of the others.
  weight_ = tail[0] > 0 ? tail[0] : 1.0F;
  addend_ = tail[0] * tail[1];
  const float ratio = space_.metric == Metric::l2 ? std::min(1 / weight_, kLargest) : 0.0F;
  query_ = {codes_.data(), 128 * sum, ratio};
}

void Probe::compare(const std::uint32_t* rows, std::size_t count, float* nearness) const {
  keys_(query_, space_.table, rows, count, nearness);
  // std::max in this order gives its first argument in place of NaN.
  for (std::size_t i = 0; i < count; ++i) {
    nearness[i] = std::max(kLowest, weight_ * nearness[i] - addend_);
  }
}

}  // namespace fanlight
