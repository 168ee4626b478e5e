// Many strings in one, each of which ends with a NUL, which none of them holds.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace fanlight {

constexpr std::size_t kWord = sizeof(std::uint64_t);

// Up to eight bytes as a little-endian word, zeros behind them.
inline std::uint64_t word_of(const char* bytes, std::size_t size) {
  std::uint64_t word = 0;
  std::memcpy(&word, bytes, std::min(size, kWord));
  return word;
}

// How many bytes of a word come before its first NUL; eight if there is none (Mycroft's trick, 1987:
// of the bits that it sets the lowest is right).
inline std::size_t bytes_before_nul(std::uint64_t word) {
  const std::uint64_t nuls =
      (word - 0x0101'0101'0101'0101) & ~word & 0x8080'8080'8080'8080;
  return nuls == 0 ? kWord : static_cast<std::size_t>(__builtin_ctzll(nuls)) / 8;
}

// Gives them one after the other, and their words to whoever takes words as they are read: all but
// the last by `word`, and what is left, less than eight bytes, by `tail`.
class JoinedIds {
 public:
  // What follows the last NUL is left out.
  explicit JoinedIds(std::string_view joined)
      : at_(joined.data()), end_(at_ + joined.rfind('\0') + 1) {}

  bool at_end() const { return at_ == end_; }

  template <typename Taker>
  std::string_view next(Taker& taker) {
    const char* const begin = at_;
    for (;; at_ += kWord) {
      const std::size_t left = static_cast<std::size_t>(end_ - at_);
      const std::uint64_t word = left >= kWord ? word_of(at_, kWord) : word_of(at_, left);
      const std::size_t size = bytes_before_nul(word);
      if (size < kWord) {
        taker.tail(word & ((std::uint64_t{1} << 8 * size) - 1), size);
        at_ += size + 1;
        return {begin, static_cast<std::size_t>(at_ - 1 - begin)};
      }
      taker.word(word);
    }
  }

 private:
  const char* at_;
  const char* end_;
};

}  // namespace fanlight
