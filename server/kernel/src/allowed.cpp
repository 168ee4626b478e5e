#include "allowed.h"

#include <algorithm>
#include <cstring>

#include "graph.h"

namespace fanlight {

Allowed::Allowed(const std::uint8_t* bits, std::size_t rows, std::size_t queries)
    : bits_(bits), rows_(rows), queries_(queries) {
  for (std::size_t i = 0; i < words(); ++i) {
    count_ += static_cast<std::size_t>(__builtin_popcountll(word(i)));
  }
}

// 64 rows at a time; bits past the last row do not count.
std::uint64_t Allowed::word(std::size_t index) const {
  const std::size_t left = rows_ - index * 64;
  std::uint64_t bits = 0;
  for (std::size_t byte = 0; left < 64 && byte < (left + 7) / 8; ++byte) {
    bits |= static_cast<std::uint64_t>(bits_[index * 8 + byte]) << (8 * byte);
  }
  if (left < 64) return bits & ((std::uint64_t{1} << left) - 1);
  std::memcpy(&bits, bits_ + index * 8, sizeof bits);
  return bits;
}

template <typename Take>
void Allowed::each(Take take) const {
  for (std::size_t i = 0; i < words(); ++i) {
    for (std::uint64_t bits = word(i); bits != 0; bits &= bits - 1) {
      take(static_cast<std::uint32_t>(i * 64) + static_cast<std::uint32_t>(__builtin_ctzll(bits)));
    }
  }
}

const std::vector<std::uint32_t>& Allowed::rows() const {
  std::call_once(listed_, [this] {
    list_.reserve(count_);
    each([this](std::uint32_t row) { list_.push_back(row); });
  });
  return list_;
}

const std::vector<std::uint32_t>& Allowed::cells(const Graph& graph) const {
  std::call_once(cells_listed_, [&] { list_cells(graph); });
  return cells_;
}

void Allowed::list_cells(const Graph& graph) const {
  std::vector<std::uint8_t> holds(graph.cells().count);
  each([&](std::uint32_t row) { holds[graph.cell_of(row)] = 1; });
  for (std::uint32_t cell = 0; cell < holds.size(); ++cell) {
    if (holds[cell]) cells_.push_back(cell);
  }
}

}  // namespace fanlight
