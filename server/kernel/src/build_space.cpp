#include "build_space.h"

#include <algorithm>
#include <cstring>
#include <limits>

namespace fanlight {
namespace {

constexpr float kLowest = std::numeric_limits<float>::lowest();
constexpr float kLargest = std::numeric_limits<float>::max();

// In runs whose sums fit 16 bits, of which the plainest vector instructions add many at once.
std::int32_t sum_of(const std::uint8_t* bytes, std::size_t count) {
  constexpr std::size_t kRun = 256;
  std::int32_t sum = 0;
  for (std::size_t start = 0; start < count; start += kRun) {
    const std::size_t end = std::min(start + kRun, count);
    std::uint16_t run = 0;
    for (std::size_t i = start; i < end; ++i) run = static_cast<std::uint16_t>(run + bytes[i]);
    sum += run;
  }
  return sum;
}

}  // namespace

Probe::Probe(const CodeSpace& space)
    : space_(space), keys_(simd().code_keys), codes_((space.table.dim + 63) / 64 * 64, 0) {}

void Probe::aim(std::uint32_t row) {
  const std::size_t dim = space_.table.dim;
  const std::uint8_t* record = space_.record(row);
  for (std::size_t i = 0; i < dim; ++i) codes_[i] = static_cast<std::int8_t>(record[i] - 128);
  const std::int32_t sum = sum_of(record, dim) - 128 * static_cast<std::int32_t>(dim);
  float tail[2];  // scale and half, see codes.h
  std::memcpy(tail, record + (dim + 3) / 4 * 4, sizeof tail);
  // A zero row has scale 0. Its products are 0 with any weight; what is left of its distances are
  // the lengths of the others.
  weight_ = tail[0] > 0 ? tail[0] : 1.0F;
  addend_ = tail[0] * tail[1];
  const float ratio = space_.metric == Metric::l2 ? std::min(1 / weight_, kLargest) : 0.0F;
  query_ = {codes_.data(), 128 * sum, ratio};
}

void Probe::compare(const CodeTable& table, const std::uint32_t* rows, std::size_t count,
                    float* nearness) const {
  keys_(query_, table, rows, count, nearness);
  // std::max in this order gives its first argument in place of NaN.
  for (std::size_t i = 0; i < count; ++i) {
    nearness[i] = std::max(kLowest, weight_ * nearness[i] - addend_);
  }
}

}  // namespace fanlight
