#include "placement.h"

#include <array>

#include "joined_ids.h"

namespace fanlight {
namespace {

std::uint16_t shard_of(std::uint64_t key, std::uint64_t shards) {
  const std::uint64_t hash = mixed(key + 0x9E37'79B9'7F4A'7C15);
  const std::uint64_t slot = hash & ((std::uint64_t{1} << kSlotBits) - 1);
  return static_cast<std::uint16_t>(slot * shards >> kSlotBits);
}

using CrcTables = std::array<std::array<std::uint32_t, 256>, 8>;

constexpr CrcTables crc_tables() {
  CrcTables tables{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xEDB8'8320 : 0);
    tables[0][byte] = crc;
  }
  for (std::size_t ahead = 1; ahead < 8; ++ahead) {
    for (std::size_t byte = 0; byte < 256; ++byte) {
      const std::uint32_t crc = tables[ahead - 1][byte];
      tables[ahead][byte] = crc >> 8 ^ tables[0][crc & 0xFF];
    }
  }
  return tables;
}

constexpr CrcTables kCrc = crc_tables();

// CRC-32 as zlib has it, up to eight bytes at a time (Kounavis and Berry, "A systematic approach to
// building high performance, software-based, CRC generators", 2005).
class Crc32 {
 public:
  void word(std::uint64_t word) {
    word ^= crc_;
    crc_ = 0;
    for (std::size_t i = 0; i < kWord; ++i) crc_ ^= kCrc[kWord - 1 - i][word >> 8 * i & 0xFF];
  }

  void tail(std::uint64_t word, std::size_t size) {
    word ^= crc_;
    crc_ = static_cast<std::uint32_t>(word >> 8 * size);
    for (std::size_t i = 0; i < size; ++i) crc_ ^= kCrc[size - 1 - i][word >> 8 * i & 0xFF];
  }

  std::uint32_t value() const { return ~crc_; }

 private:
  std::uint32_t crc_ = ~0U;
};

}  // namespace

std::vector<std::size_t> split_by_shard(const std::int64_t* ids, std::size_t count, std::size_t shards,
                                        std::int64_t* out) {
  std::vector<std::uint16_t> owners(count);
  std::vector<std::size_t> bounds(shards + 1);
  for (std::size_t i = 0; i < count; ++i) {
    owners[i] = shard_of(static_cast<std::uint64_t>(ids[i]), shards);
    ++bounds[owners[i] + 1];
  }
  for (std::size_t shard = 0; shard < shards; ++shard) bounds[shard + 1] += bounds[shard];
  std::vector<std::size_t> next(bounds);
  for (std::size_t i = 0; i < count; ++i) out[next[owners[i]]++] = ids[i];
  return bounds;
}

std::vector<JoinedPart> split_by_shard(std::string_view joined, std::size_t shards) {
  std::vector<JoinedPart> parts(shards);
  const std::size_t room = joined.size() / shards + joined.size() / (8 * shards);
  for (JoinedPart& part : parts) part.joined.reserve(room);
  for (JoinedIds ids(joined); !ids.at_end();) {
    Crc32 crc;
    const std::string_view id = ids.next(crc);
    JoinedPart& part = parts[shard_of(crc.value(), shards)];
    part.joined.append(id.data(), id.size() + 1);
    ++part.count;
  }
  return parts;
}

}  // namespace fanlight
