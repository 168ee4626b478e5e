#include "string_id_table.h"

#include <array>

#include "joined_ids.h"
#include "placement.h"

namespace fanlight {
namespace {

// Ids that are looked up together: what is known of them fits the first cache.
constexpr std::size_t kBlock = 256;

// Whoever does not know the seed cannot choose strings whose hashes meet. Each word is multiplied to
// twice as many bits, which are folded (as in wyhash, Wang Yi, 2019).
class Hash {
 public:
  explicit Hash(std::uint64_t seed) : hash_(seed), factor_(seed | 1) {}

  void word(std::uint64_t word) { hash_ = folded(hash_ ^ word); }
  void tail(std::uint64_t word, std::size_t) { hash_ = mixed(hash_ ^ word); }
  std::uint64_t value() const { return hash_; }

 private:
  std::uint64_t folded(std::uint64_t word) const {
    const auto product = static_cast<unsigned __int128>(word) * factor_;
    return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
  }

  std::uint64_t hash_;
  std::uint64_t factor_;
};

std::uint64_t hash_of(std::string_view id, std::uint64_t seed) {
  Hash hash(seed);
  for (; id.size() >= kWord; id.remove_prefix(kWord)) hash.word(word_of(id.data(), kWord));
  hash.tail(word_of(id.data(), id.size()), id.size());
  return hash.value();
}

std::vector<std::uint64_t> hashes_of(const Strings& ids, std::uint64_t seed) {
  std::vector<std::uint64_t> each(ids.count);
  for (std::size_t row = 0; row < ids.count; ++row) each[row] = hash_of(ids[row], seed);
  return each;
}

std::uint32_t tag_of(std::uint64_t hash) { return static_cast<std::uint32_t>(hash); }

}  // namespace

struct StringIdTable::Sought {
  std::string_view id;
  std::size_t bucket;
  std::uint32_t tag;
  std::uint32_t place;  // of the first row with this tag
};

StringIdTable::StringIdTable(const Strings& ids, std::uint64_t seed)
    : StringIdTable(ids, seed, hashes_of(ids, seed)) {}

StringIdTable::StringIdTable(const Strings& ids, std::uint64_t seed,
                             const std::vector<std::uint64_t>& hashes)
    : ids_(ids), seed_(seed), rows_(hashes), tags_(ids.count) {
  for (std::size_t at = 0; at < ids.count; ++at) tags_[at] = tag_of(hashes[rows_.row(at)]);
}

void StringIdTable::clear(std::string_view joined, std::uint8_t* bits) const {
  std::array<Sought, kBlock> sought;
  for (JoinedIds ids(joined); !ids.at_end();) {
    std::size_t left = 0;
    for (std::size_t i = 0; i < kBlock && !ids.at_end(); ++i) {
      Hash hash(seed_);
      const std::string_view id = ids.next(hash);
      const std::uint64_t key = hash.value();
      sought[left] = {id, rows_.bucket_of(key), tag_of(key), 0};
      left += rows_.may_hold(key);
    }
    clear_some(sought.data(), left, bits);
  }
}

// Step by step for all of them, as IdTable does; most have been told apart by their tags when the
// strings are compared.
void StringIdTable::clear_some(Sought* sought, std::size_t count, std::uint8_t* bits) const {
  for (std::size_t i = 0; i < count; ++i) rows_.prefetch_bounds(sought[i].bucket);
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint32_t begin = rows_.begin(sought[i].bucket);
    __builtin_prefetch(tags_.data() + begin);
    rows_.prefetch_row(begin);
  }
  std::size_t left = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint32_t end = rows_.end(sought[i].bucket);
    std::uint32_t at = rows_.begin(sought[i].bucket);
    while (at < end && tags_[at] != sought[i].tag) ++at;
    if (at == end) continue;
    __builtin_prefetch(ids_.offsets + rows_.row(at));
    sought[left] = sought[i];
    sought[left++].place = at;
  }
  for (std::size_t i = 0; i < left; ++i) {
    __builtin_prefetch(ids_.data + ids_.offsets[rows_.row(sought[i].place)]);
  }
  for (std::size_t i = 0; i < left; ++i) clear_one(sought[i], bits);
}

void StringIdTable::clear_one(const Sought& sought, std::uint8_t* bits) const {
  for (std::uint32_t at = sought.place; at < rows_.end(sought.bucket); ++at) {
    if (tags_[at] != sought.tag || ids_[rows_.row(at)] != sought.id) continue;
    if (!clear_bit(bits, rows_.row(at))) return;
  }
}

}  // namespace fanlight
