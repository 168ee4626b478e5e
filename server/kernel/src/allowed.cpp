#include "allowed.h"

#include <algorithm>
#include <cstring>

namespace fanlight {

Allowed::Allowed(const std::uint8_t* bits, std::size_t rows) : bits_(bits), rows_(rows) {
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

const std::vector<std::uint32_t>& Allowed::rows() const {
  std::call_once(listed_, [this] { list(); });
  return list_;
}

void Allowed::list() const {
  list_.reserve(count_);
  for (std::size_t i = 0; i < words(); ++i) {
    for (std::uint64_t bits = word(i); bits != 0; bits &= bits - 1) {
      list_.push_back(static_cast<std::uint32_t>(i * 64) +
                      static_cast<std::uint32_t>(__builtin_ctzll(bits)));
    }
  }
}

}  // namespace fanlight
