// Which shard owns an id: what fanlight/placement.py says, for many ids at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fanlight {

constexpr unsigned kSlotBits = 14;

// The finalizer of splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
// generators", 2014).
inline std::uint64_t mixed(std::uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58'476D'1CE4'E5B9;
  z = (z ^ (z >> 27)) * 0x94D0'49BB'1331'11EB;
  return z ^ (z >> 31);
}

// Put the ids of each of 1 to 2^14 shards side by side in `out`, in the order in which they came,
// and give where those of each begin, and the end.
std::vector<std::size_t> split_by_shard(const std::int64_t* ids, std::size_t count, std::size_t shards,
                                        std::int64_t* out);

// The strings of one shard, each of which ends with a NUL.
struct JoinedPart {
  std::string joined;
  std::size_t count = 0;
};

// The same for strings.
std::vector<JoinedPart> split_by_shard(std::string_view joined, std::size_t shards);

}  // namespace fanlight
