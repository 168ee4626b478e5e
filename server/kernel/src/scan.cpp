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

void add_all(const Rows& rows, const std::uint32_t* chosen, const float* scores, std::size_t count,
             TopK& best) {
  float floor = best.floor();
  for (std::size_t i = 0; i < count; ++i) {
    if (scores[i] < floor) continue;
    best.add({scores[i], chosen[i], rows.order_of(chosen[i])});
    floor = best.floor();
  }
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
  void begin(const Rows& rows, const ScanPlan& plan, const float* query, const HitsOut& out) {
    out_ = out;
    query_.prepare(rows, query);
    if (plan.codes) query_.encode(rows);
    best_.start(plan.codes ? candidates_for(plan.k) : plan.k);
  }

  void compare_codes(const Rows& rows, const std::uint32_t* chosen, std::size_t count) {
    float keys[kBlock];
    simd().code_keys(query_.codes(), rows.code_table(), chosen, count, keys);
    add_all(rows, chosen, keys, count, best_);
  }

  void compare_vectors(const Rows& rows, const std::uint32_t* chosen, std::size_t count) {
    std::uint32_t kept[kBlock];
    float scores[kBlock];
    const std::size_t left = Sieve(rows, query_).keep(chosen, count, best_.floor(), kept);
    score_rows(rows, query_.vector(), query_.length(), kept, left, scores);
    add_all(rows, kept, scores, left, best_);
  }

  void finish(const Rows& rows, const ScanPlan& plan) {
    if (plan.codes) {
      candidates_.clear();
      for (const Hit& hit : best_.sorted()) candidates_.push_back(hit.row);
      rank(rows, query_, candidates_.data(), candidates_.size(), plan.k, best_);
    }
    out_.write(best_.sorted());
  }

 private:
  HitsOut out_{};
  Query query_;
  TopK best_;
  std::vector<std::uint32_t> candidates_;
};

using Lanes = std::array<ScanLane, kMaxScanGroup>;

void scan_lanes(const Rows& rows, const ScanPlan& plan, Lanes& lanes, std::size_t active) {
  in_blocks(plan.chosen, [&](const std::uint32_t* block, std::size_t count) {
    for (std::size_t i = 0; i < active; ++i) {
      if (plan.codes) {
        lanes[i].compare_codes(rows, block, count);
      } else {
        lanes[i].compare_vectors(rows, block, count);
      }
    }
  });
  for (std::size_t i = 0; i < active; ++i) lanes[i].finish(rows, plan);
}

// Take groups of queries from `claim`, until it gives none, and answer them.
template <typename Claim>
void scan_groups(const Rows& rows, const ScanPlan& plan, const QueryBatch& batch, Claim claim) {
  Lanes& lanes = of_this_thread<Lanes>();
  for (bool more = true; more;) {
    std::size_t active = 0;
    for (std::size_t query = 0; active < batch.scan_group; ++active) {
      more = claim(query);
      if (!more) break;
      lanes[active].begin(rows, plan, batch.queries + query * rows.dim, batch.out(query));
    }
    if (active > 0) scan_lanes(rows, plan, lanes, active);
  }
}

}  // namespace

// At k = 10 and 100, with ef from 32 to 150, on text, image and generated vectors of 50 to 784
// dimensions, more candidates found nothing more; 5/4 k + 2 lost up to 0.002 of the recall.
std::size_t candidates_for(std::size_t k) { return std::max(k + k / 2, k + 8); }

void rank(const Rows& rows, const Query& query, const std::uint32_t* chosen, std::size_t count,
          std::size_t k, TopK& best) {
  best.start(k);
  in_blocks({chosen, count}, [&](const std::uint32_t* block, std::size_t size) {
    float scores[kBlock];
    score_rows(rows, query.vector(), query.length(), block, size, scores);
    add_all(rows, block, scores, size, best);
  });
}

void scan(const Rows& rows, const ScanPlan& plan, const QueryBatch& batch, Claims& claims) {
  scan_groups(rows, plan, batch, [&](std::size_t& query) { return claims.claim(query); });
}

void scan_each(const Rows& rows, const ScanPlan& plan, const QueryBatch& batch,
               const std::vector<std::size_t>& queries) {
  std::size_t next = 0;
  scan_groups(rows, plan, batch, [&](std::size_t& query) {
    if (next < queries.size()) query = queries[next];
    return next++ < queries.size();
  });
}

}  // namespace fanlight
