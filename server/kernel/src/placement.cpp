#include "placement.h"

namespace fanlight {
namespace {

std::uint16_t shard_of(std::int64_t id, std::uint64_t shards) {
  const std::uint64_t hash = mixed(static_cast<std::uint64_t>(id) + 0x9E37'79B9'7F4A'7C15);
  const std::uint64_t slot = hash & ((std::uint64_t{1} << kSlotBits) - 1);
  return static_cast<std::uint16_t>(slot * shards >> kSlotBits);
}

}  // namespace

std::vector<std::size_t> split_by_shard(const std::int64_t* ids, std::size_t count, std::size_t shards,
                                        std::int64_t* out) {
  std::vector<std::uint16_t> owners(count);
  std::vector<std::size_t> bounds(shards + 1);
  for (std::size_t i = 0; i < count; ++i) {
    owners[i] = shard_of(ids[i], shards);
    ++bounds[owners[i] + 1];
  }
  for (std::size_t shard = 0; shard < shards; ++shard) bounds[shard + 1] += bounds[shard];
  std::vector<std::size_t> next(bounds);
  for (std::size_t i = 0; i < count; ++i) out[next[owners[i]]++] = ids[i];
  return bounds;
}

}  // namespace fanlight
