#include "scan.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <vector>

#include "room.h"

namespace fanlight {
namespace {

// Rows compared at a time: a block of vectors stays in the second-level cache for a whole group
// of queries.
constexpr std::size_t kBlock = 128;

// Call `each(rows, count)` with blocks of the rows chosen.
template <typename Each>
void in_blocks(const Chosen& chosen, Each each) {
  std::uint32_t numbers[kBlock];
  for (std::size_t at = 0; at < chosen.count; at += kBlock) {
    const std::size_t count = std::min(kBlock, chosen.count - at);
    if (chosen.rows) {
      each(chosen.rows + at, count);
    } else {
      std::iota(numbers, numbers + count, static_cast<std::uint32_t>(at));
      each(numbers, count);
    }
  }
}

void add_all(const ScanPart& part, const std::uint32_t* chosen, const float* scores, std::size_t count,
             TopK& best) {
  float floor = best.floor();
  for (std::size_t i = 0; i < count; ++i) {
    if (scores[i] < floor) continue;
    best.add({scores[i], part.base + chosen[i], part.rows->order_of(chosen[i])});
    floor = best.floor();
  }
}

void add_scored(const ScanPart& part, const Query& query, TopK& best) {
  in_blocks(part.chosen, [&](const std::uint32_t* block, std::size_t size) {
    float scores[kBlock];
    score_rows(*part.rows, query.vector(), query.length(), block, size, scores);
    add_all(part, block, scores, size, best);
  });
}

// Tells which rows a sum in float32 rules out. Such a sum of n terms, added in 16 lanes, is off
// by at most about (n / 16 + 4) * 2^-24 times the sum of their magnitudes (Higham, "Accuracy and
// Stability of Numerical Algorithms", section 4.2), and by what underflows in each term; the
// bound here leaves room for the rounding of the score and of what is compared.
class Sieve {
 public:
  Sieve(const Rows& rows, const Query& query)
      : rows_(rows),
        query_(query),
        unit_(static_cast<double>(rows.dim / 16 + 16) * 0x1p-24),
        tiny_(static_cast<double>(rows.dim + 16) * 0x1p-126) {}

  // Keep the rows whose score may reach the floor; returns how many.
  std::size_t keep(const std::uint32_t* chosen, std::size_t count, float floor,
                   std::uint32_t* kept) const {
    float sums[kBlock];
    const bool l2 = rows_.metric == Metric::l2;
    const auto sum = l2 ? simd().float_squared_differences : simd().float_products;
    sum(query_.vector(), rows_.dim, rows_.vectors, chosen, count, sums);
    std::size_t found = 0;
    for (std::size_t i = 0; i < count; ++i) {
      kept[found] = chosen[i];
      // A sum that overflowed says nothing.
      found += !std::isfinite(sums[i]) || !below(floor, sums[i], chosen[i]);
    }
    return found;
  }

 private:
  // Whether the highest score that a row with this sum can have is below the floor.
  bool below(double floor, double sum, std::uint32_t row) const {
    if (rows_.metric == Metric::l2) return tiny_ - sum * (1 - unit_) < floor;
    const double lengths = query_.length() * rows_.lengths[row];
    const double highest = sum + unit_ * lengths + tiny_;
    return highest < (rows_.metric == Metric::cosine ? floor * lengths : floor);
  }

  const Rows& rows_;
  const Query& query_;
  double unit_;  // relative error
  double tiny_;  // absolute error
};

// One query on its way through the rows, kept by a thread from query to query.
class ScanLane {
 public:
  void begin(const Rows& rows, const ScanGoal& goal, const float* query) {
    query_.prepare(rows, query);
    if (goal.codes) query_.encode(rows);
    best_.start(goal.codes ? candidates_for(goal.k) : goal.k);
  }

  void compare_codes(const ScanPart& part, const std::uint32_t* chosen, std::size_t count) {
    float keys[kBlock];
    simd().code_keys(query_.codes(), part.rows->code_table(), chosen, count, keys);
    add_all(part, chosen, keys, count, best_);
  }

  void compare_vectors(const ScanPart& part, const std::uint32_t* chosen, std::size_t count) {
    std::uint32_t kept[kBlock];
    float scores[kBlock];
    const Rows& rows = *part.rows;
    const std::size_t left = Sieve(rows, query_).keep(chosen, count, best_.floor(), kept);
    score_rows(rows, query_.vector(), query_.length(), kept, left, scores);
    add_all(part, kept, scores, left, best_);
  }

  // The hits, best first, when all rows have been compared.
  const std::vector<Hit>& finish(const std::vector<ScanPart>& parts, const ScanGoal& goal) {
    if (goal.codes) score_candidates(parts, goal.k);
    return best_.sorted();
  }

 private:
  void score_candidates(const std::vector<ScanPart>& parts, std::size_t k) {
    candidates_.clear();
    for (const Hit& hit : best_.sorted()) candidates_.push_back(hit.row);
    std::sort(candidates_.begin(), candidates_.end());  // part by part
    best_.start(k);
    std::size_t at = 0;
    for (const ScanPart& part : parts) {
      const std::size_t first = at, end = part.base + part.rows->count;
      for (; at < candidates_.size() && candidates_[at] < end; ++at) candidates_[at] -= part.base;
      if (at == first) continue;
      add_scored({part.rows, {candidates_.data() + first, at - first}, part.base}, query_, best_);
    }
  }

  Query query_;
  TopK best_;
  std::vector<std::uint32_t> candidates_;
};

using Lanes = std::array<ScanLane, kMaxScanGroup>;

void compare(const std::vector<ScanPart>& parts, bool codes, Lanes& lanes, std::size_t active) {
  for (const ScanPart& part : parts) {
    in_blocks(part.chosen, [&](const std::uint32_t* block, std::size_t count) {
      for (std::size_t i = 0; i < active; ++i) {
        if (codes) {
          lanes[i].compare_codes(part, block, count);
        } else {
          lanes[i].compare_vectors(part, block, count);
        }
      }
    });
  }
}

// Take groups of queries from `claim`, until it gives none, and give the hits of each to `take`.
template <typename Claim, typename Take>
void scan_groups(const std::vector<ScanPart>& parts, const ScanGoal& goal, const QueryBatch& batch,
                 Claim claim, Take take) {
  Lanes& lanes = of_this_thread<Lanes>();
  const Rows& rows = *parts.front().rows;
  std::array<std::size_t, kMaxScanGroup> numbers{};
  for (bool more = true; more;) {
    std::size_t active = 0;
    for (; active < batch.scan_group; ++active) {
      more = claim(numbers[active]);
      if (!more) break;
      lanes[active].begin(rows, goal, batch.queries + numbers[active] * rows.dim);
    }
    if (active == 0) return;
    compare(parts, goal.codes, lanes, active);
    for (std::size_t i = 0; i < active; ++i) take(numbers[i], lanes[i].finish(parts, goal));
  }
}

template <typename Claim>
void scan_one(const Rows& rows, const ScanPlan& plan, const QueryBatch& batch, Claim claim) {
  scan_groups({{&rows, plan.chosen}}, plan.goal, batch, claim,
              [&](std::size_t query, const std::vector<Hit>& hits) { batch.out(query).write(hits); });
}

}  // namespace

// At k = 10 and 100, with ef from 32 to 150, on text, image and generated vectors of 50 to 784
// dimensions, more candidates found nothing more; 5/4 k + 2 lost up to 0.002 of the recall.
std::size_t candidates_for(std::size_t k) { return std::max(k + k / 2, k + 8); }

void rank(const Rows& rows, const Query& query, const std::uint32_t* chosen, std::size_t count,
          std::size_t k, TopK& best) {
  best.start(k);
  add_scored({&rows, {chosen, count}}, query, best);
}

void scan(const Rows& rows, const ScanPlan& plan, const QueryBatch& batch, Claims& claims) {
  scan_one(rows, plan, batch, [&](std::size_t& query) { return claims.claim(query); });
}

void scan_each(const Rows& rows, const ScanPlan& plan, const QueryBatch& batch,
               const std::vector<std::size_t>& queries) {
  std::size_t next = 0;
  scan_one(rows, plan, batch, [&](std::size_t& query) {
    if (next < queries.size()) query = queries[next];
    return next++ < queries.size();
  });
}

void scan_joined(const std::vector<ScanPart>& parts, const ScanGoal& goal, const QueryBatch& batch,
                 std::size_t count, std::vector<TopK>& best) {
  std::size_t next = 0;
  scan_groups(
      parts, goal, batch,
      [&](std::size_t& query) {
        query = next++;
        return query < count;
      },
      [&](std::size_t query, const std::vector<Hit>& hits) {
        for (const Hit& hit : hits) best[query].add(hit);
      });
}

}  // namespace fanlight
