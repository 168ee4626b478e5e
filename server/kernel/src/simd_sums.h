// Sums over floats, written once with the compiler's vector types and compiled by each simd_*.cpp
// for its own instruction set; the anonymous namespace keeps those copies apart.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace fanlight {
namespace {

struct Product {
  template <typename Vector>
  static inline Vector of(Vector query, Vector row) {
    return query * row;
  }
};

struct SquaredDifference {
  template <typename Vector>
  static inline Vector of(Vector query, Vector row) {
    const Vector difference = row - query;
    return difference * difference;
  }
};

// 64 bytes of accumulators, held in vectors of `kBytes`: the width changes the speed, never the
// order of the additions.
template <typename Number, int kBytes>
struct Lanes {
  static constexpr int kTotal = 64 / sizeof(Number);
  static constexpr int kNative = kBytes / sizeof(Number);
  static constexpr int kParts = kTotal / kNative;
  typedef Number Vector __attribute__((vector_size(kBytes)));
  typedef float Input __attribute__((vector_size(kNative * sizeof(float))));

  static inline Vector load(const float* at) {
    Input input;
    std::memcpy(&input, at, sizeof input);
    return __builtin_convertvector(input, Vector);
  }
};

template <typename Term, typename L, typename Number, int kRows>
inline void add_block(const float* query, const float* const* rows, std::size_t at,
                      typename L::Vector (&sums)[kRows][L::kParts]) {
  for (int part = 0; part < L::kParts; ++part) {
    const std::size_t from = at + static_cast<std::size_t>(part) * L::kNative;
    const typename L::Vector wanted = L::load(query + from);
    for (int row = 0; row < kRows; ++row) {
      sums[row][part] += Term::of(wanted, L::load(rows[row] + from));
    }
  }
}

// Add the last dim % kTotal elements, as if zeros followed them.
template <typename Term, typename L, typename Number, int kRows>
inline void add_tail(const float* query, const float* const* rows, std::size_t at, std::size_t dim,
                     typename L::Vector (&sums)[kRows][L::kParts]) {
  float padded[kRows + 1][L::kTotal] = {};
  const float* tails[kRows];
  for (std::size_t i = at; i < dim; ++i) padded[kRows][i - at] = query[i];
  for (int row = 0; row < kRows; ++row) {
    for (std::size_t i = at; i < dim; ++i) padded[row][i - at] = rows[row][i];
    tails[row] = padded[row];
  }
  add_block<Term, L, Number, kRows>(padded[kRows], tails, 0, sums);
}

template <typename Number, typename Vector, int kParts>
inline Number fold(const Vector (&sums)[kParts]) {
  constexpr int kTotal = 64 / sizeof(Number);
  Number lanes[kTotal];
  std::memcpy(lanes, sums, sizeof lanes);
  for (int width = kTotal / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  }
  return lanes[0];
}

template <typename Term, typename Number, int kBytes, int kRows>
inline void sum_rows(const float* query, std::size_t dim, const float* const* rows,
                     Number* result) {
  using L = Lanes<Number, kBytes>;
  typename L::Vector sums[kRows][L::kParts] = {};
  std::size_t at = 0;
  for (; at + L::kTotal <= dim; at += L::kTotal) {
    add_block<Term, L, Number, kRows>(query, rows, at, sums);
  }
  if (at < dim) add_tail<Term, L, Number, kRows>(query, rows, at, dim, sums);
  for (int row = 0; row < kRows; ++row) result[row] = fold<Number>(sums[row]);
}

// Four rows at a time: their additions wait for each other only within a row.
template <typename Term, typename Number, int kBytes>
void sums_of(const float* query, std::size_t dim, const float* base, const std::uint32_t* rows,
             std::size_t count, Number* sums) {
  std::size_t i = 0;
  for (; i + 4 <= count; i += 4) {
    const float* four[4];
    for (int j = 0; j < 4; ++j) four[j] = base + rows[i + j] * dim;
    sum_rows<Term, Number, kBytes, 4>(query, dim, four, sums + i);
  }
  for (; i < count; ++i) {
    const float* one[1] = {base + rows[i] * dim};
    sum_rows<Term, Number, kBytes, 1>(query, dim, one, sums + i);
  }
}

}  // namespace
}  // namespace fanlight
