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

float largest_magnitude(const float* vector, std::size_t dim) {
  float largest = 0;
  for (std::size_t i = 0; i < dim; ++i) largest = std::max(largest, std::fabs(vector[i]));
  return largest;
}

bool all_finite(const float* vector, std::size_t dim) {
  bool finite = true;
  for (std::size_t i = 0; i < dim; ++i) finite &= std::isfinite(vector[i]);
  return finite;
}

// In float64, where 127 / largest is finite for every float32.
int code_of(float value, double factor) {
  return static_cast<int>(std::lrint(static_cast<double>(value) * factor));
}

}  // namespace

std::size_t code_bytes(std::size_t dim) { return round_up(round_up(dim, 4) + kCodeExtra, kLine); }

bool encode_row(Metric metric, const float* vector, double length, std::size_t dim,
                std::uint8_t* record) {
  if (!all_finite(vector, dim) || !std::isfinite(length) || length < 0) return false;
  const float largest = largest_magnitude(vector, dim);
  const double factor = largest > 0 ? 127.0 / largest : 0.0;
  double product = 0;
  for (std::size_t i = 0; i < dim; ++i) {
    const int code = code_of(vector[i], factor);
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
  const float largest = largest_magnitude(vector, dim);
  const double factor = largest > 0 ? 127.0 / largest : 0.0;
  std::int32_t sum = 0;
  for (std::size_t i = 0; i < dim; ++i) {
    const int code = code_of(vector[i], factor);
    values_[i] = static_cast<std::int8_t>(code);
    sum += code;
  }
  // 1 / s; a zero query under l2 is nearest to the shortest rows, which any weight says.
  const double weight = factor > 0 ? std::min(factor, kLargestFloat) : 1.0;
  query_ = {values_.data(), 128 * sum, metric == Metric::l2 ? static_cast<float>(weight) : 0.0F};
}

}  // namespace fanlight
