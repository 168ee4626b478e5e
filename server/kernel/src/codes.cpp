#include "codes.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace fanlight {
namespace {

constexpr std::size_t kLine = 64;
constexpr double kLargestFloat = std::numeric_limits<float>::max();

constexpr std::size_t round_up(std::size_t value, std::size_t step) {
  return (value + step - 1) / step * step;
}

// What turns the elements of a vector into codes.
struct Quantizer {
  explicit Quantizer(float largest)
      : lift(largest < kTiny ? kLift : 1.0F),
        factor(largest > 0 ? 127.0F / (largest * lift) : 0.0F) {}

  // The nearest integer, by adding a number beside which float32 holds nothing but integers.
  int operator()(float value) const {
    const float shifted = value * lift * factor + kShift;
    std::int32_t bits;
    std::memcpy(&bits, &shifted, sizeof bits);
    return bits - kShiftBits;
  }

  // 127 / largest, which float32 need not hold.
  double exact() const { return static_cast<double>(lift) * factor; }

  static constexpr float kTiny = 0x1p-100F;
  static constexpr float kLift = 0x1p100F;
  static constexpr float kShift = 0x1.8p23F;
  static constexpr std::int32_t kShiftBits = 0x4B400000;

  float lift;  // keeps 127 / largest finite for the shortest vectors
  float factor;
};

}  // namespace

// As bits, since integers have a largest one that compilers find with vectors.
float largest_magnitude(const float* vector, std::size_t dim) {
  std::int32_t largest = 0;
  for (std::size_t i = 0; i < dim; ++i) {
    std::int32_t bits;
    std::memcpy(&bits, vector + i, sizeof bits);
    largest = std::max(largest, bits & 0x7FFFFFFF);
  }
  float magnitude;
  std::memcpy(&magnitude, &largest, sizeof magnitude);
  return magnitude;
}

std::size_t code_bytes(std::size_t dim) { return round_up(round_up(dim, 4) + kCodeExtra, kLine); }

bool encode_row(Metric metric, const float* vector, double length, std::size_t dim,
                std::uint8_t* record) {
  const float largest = largest_magnitude(vector, dim);
  if (!std::isfinite(largest) || !std::isfinite(length) || length < 0) return false;
  const Quantizer quantize(largest);
  double product = 0;
  for (std::size_t i = 0; i < dim; ++i) {
    const int code = quantize(vector[i]);
    record[i] = static_cast<std::uint8_t>(code + 128);
    product += static_cast<double>(vector[i]) * code;
  }
  const double numerator = metric == Metric::cosine ? length : length * length;
  const float tail[2] = {
      product > 0 ? static_cast<float>(numerator / product) : 0.0F,
      metric == Metric::l2 ? static_cast<float>(product / 2) : 0.0F,
  };
  const std::size_t at = round_up(dim, 4);
  std::memset(record + dim, 0, code_bytes(dim) - dim);
  std::memcpy(record + at, tail, sizeof tail);
  return true;
}

void EncodedQuery::encode(Metric metric, const float* vector, std::size_t dim) {
  values_.assign(round_up(dim, kLine), 0);
  const Quantizer quantize(largest_magnitude(vector, dim));
  std::int8_t* const values = values_.data();
  std::int32_t sum = 0;
  for (std::size_t i = 0; i < dim; ++i) {
    const int code = quantize(vector[i]);
    values[i] = static_cast<std::int8_t>(code);
    sum += code;
  }
  // 1 / s; a zero query under l2 is nearest to the shortest rows, which any weight says.
  const double exact = quantize.exact();
  const double weight = exact > 0 ? std::min(exact, kLargestFloat) : 1.0;
  query_ = {values_.data(), 128 * sum, metric == Metric::l2 ? static_cast<float>(weight) : 0.0F};
}

}  // namespace fanlight
