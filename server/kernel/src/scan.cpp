#include "scan.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include "room.h"

namespace fanlight {
namespace {

// Rows compared at a time: a block of vectors stays in the second-level cache for a whole group
// of queries.
constexpr std::size_t kBlock = 128;

// Bytes of each vector that are asked for before those found are scored; the rest follows by itself.
// 2 to 3 % of a search (384 dimensions, 8,000 rows).
constexpr std::size_t kFirstBytes = 256;

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

void add_all(const JoinedRows& set, const std::uint32_t* chosen, const float* scores, std::size_t count,
             TopK& best) {
  float floor = best.floor();
  for (std::size_t i = 0; i < count; ++i) {
    if (scores[i] < floor) continue;
    best.add({scores[i], set.base + chosen[i], set.rows->order_of(chosen[i])});
    floor = best.floor();
  }
}

void add_scored(const JoinedRows& set, const Query& query, TopK& best) {
  in_blocks(set.scanned, [&](const std::uint32_t* block, std::size_t size) {
    float scores[kBlock];
    score_rows(*set.rows, query.vector(), query.length(), block, size, scores);
    add_all(set, block, scores, size, best);
  });
}

// The same of rows that lie here and there: asks for all of them first.
void add_scored_few(const JoinedRows& set, const Query& query, TopK& best) {
  const std::size_t dim = set.rows->dim;
  for (std::size_t i = 0; i < set.scanned.count; ++i) {
    prefetch(set.rows->vectors + set.scanned.rows[i] * dim,
             std::min(dim * sizeof(float), kFirstBytes));
  }
  add_scored(set, query, best);
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
  // The query starts with what `best` holds.
  void begin(const Rows& rows, const ScanGoal& goal, const float* query) {
    query_.prepare(rows, query);
    if (goal.codes) query_.encode(rows);
  }

  TopK& best() { return best_; }

  void compare_codes(const JoinedRows& set, const CodeTable& table, const std::uint32_t* chosen,
                     std::size_t count) {
    float keys[kBlock];
    simd().code_keys(query_.codes(), table, chosen, count, keys);
    add_all(set, chosen, keys, count, best_);
  }

  void compare_vectors(const JoinedRows& set, const std::uint32_t* chosen, std::size_t count) {
    std::uint32_t kept[kBlock];
    float scores[kBlock];
    const Rows& rows = *set.rows;
    const std::size_t left = Sieve(rows, query_).keep(chosen, count, best_.floor(), kept);
    score_rows(rows, query_.vector(), query_.length(), kept, left, scores);
    add_all(set, kept, scores, left, best_);
  }

  // Have the hits in `best`, when all rows have been compared.
  void finish(const std::vector<JoinedRows>& sets, const ScanGoal& goal) {
    if (!goal.codes) return;
    candidates_.clear();
    for (const Hit& hit : best_.sorted()) candidates_.push_back(hit.row);
    std::sort(candidates_.begin(), candidates_.end());  // set by set
    best_.start(goal.k);
    std::size_t at = 0;
    for (const JoinedRows& set : sets) {
      const std::size_t first = at, end = set.base + set.rows->count;
      for (; at < candidates_.size() && candidates_[at] < end; ++at) candidates_[at] -= set.base;
      if (at == first) continue;
      add_scored_few({set.rows, {candidates_.data() + first, at - first}, set.base}, query_, best_);
    }
  }

 private:
  Query query_;
  TopK best_;
  std::vector<std::uint32_t> candidates_;
};

using Lanes = std::array<ScanLane, kMaxScanGroup>;

void compare(const std::vector<JoinedRows>& sets, bool codes, Lanes& lanes, std::size_t active) {
  for (const JoinedRows& set : sets) {
    in_blocks(set.scanned, [&](const std::uint32_t* block, std::size_t count) {
      CodeTable table = set.rows->scan_table();
      for (std::size_t i = 0; i < active; ++i) {
        if (codes) {
          lanes[i].compare_codes(set, table, block, count);
          table.ahead = 0;  // in the cache by now
        } else {
          lanes[i].compare_vectors(set, block, count);
        }
      }
    });
  }
}

// Take groups of queries from `claim`, until it gives none; `start` says what each starts with, and
// `take` gets its hits.
template <typename Claim, typename Start, typename Take>
void scan_groups(const std::vector<JoinedRows>& sets, const ScanGoal& goal, const QueryBatch& batch,
                 Claim claim, Start start, Take take) {
  Lanes& lanes = of_this_thread<Lanes>();
  const Rows& rows = *sets.front().rows;
  std::array<std::size_t, kMaxScanGroup> numbers{};
  for (bool more = true; more;) {
    std::size_t active = 0;
    for (; active < batch.scan_group; ++active) {
      more = claim(numbers[active]);
      if (!more) break;
      lanes[active].begin(rows, goal, batch.queries + numbers[active] * rows.dim);
      start(numbers[active], lanes[active].best());
    }
    if (active == 0) return;
    compare(sets, goal.codes, lanes, active);
    for (std::size_t i = 0; i < active; ++i) {
      lanes[i].finish(sets, goal);
      take(numbers[i], lanes[i].best());
    }
  }
}

template <typename Claim>
void scan_one(const Rows& rows, const ScanPlan& plan, const QueryBatch& batch, Claim claim) {
  scan_groups(
      {{&rows, plan.chosen}}, plan.goal, batch, claim,
      [&](std::size_t, TopK& best) { best.start(kept_for(plan.goal)); },
      [&](std::size_t query, TopK& best) { batch.out(query).write(best.sorted()); });
}

}  // namespace

// At k = 10 and 100, with ef from 32 to 150, on text, image and generated vectors of 50 to 784
// dimensions, more candidates found nothing more; 5/4 k + 2 lost up to 0.002 of the recall.
std::size_t candidates_for(std::size_t k) { return std::max(k + k / 2, k + 8); }

std::size_t kept_for(const ScanGoal& goal) { return goal.codes ? candidates_for(goal.k) : goal.k; }

void rank(const Rows& rows, const Query& query, const std::vector<Candidate>& candidates,
          std::size_t k, TopK& best) {
  auto& chosen = of_this_thread<std::vector<std::uint32_t>>();
  chosen.clear();
  for (const Candidate& candidate : candidates) chosen.push_back(candidate.row);
  best.start(k);
  add_scored_few({&rows, {chosen.data(), chosen.size()}}, query, best);
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

void scan_joined(const std::vector<JoinedRows>& sets, const ScanGoal& goal, const QueryBatch& batch,
                 std::size_t count, std::vector<TopK>& found) {
  std::size_t next = 0;
  const auto exchange = [&](std::size_t query, TopK& best) { std::swap(found[query], best); };
  scan_groups(
      sets, goal, batch,
      [&](std::size_t& query) {
        query = next++;
        return query < count;
      },
      exchange, exchange);
}

}  // namespace fanlight
