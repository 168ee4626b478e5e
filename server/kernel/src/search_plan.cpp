#include "search_plan.h"

#include <algorithm>

#include "scan.h"
#include "simd.h"

namespace fanlight {
namespace {

// Nanoseconds for a row that is scanned: 3 to 18 with AVX-512, 11 to 56 with AVX2.
double scan_cost(const Rows& rows) {
  return simd().row_ns + simd().byte_ns * static_cast<double>(rows.code_stride);
}

// For one that is visited, fitted to what was measured on one core with 64 to 784 dimensions and
// 8,000 to 200,000 rows: 700 to 1,100. Most of it waits for memory, whatever the instructions.
double visit_cost(const Rows& rows) { return 600 + 0.6 * static_cast<double>(rows.code_stride); }

// Rows that are new where one is visited, about.
constexpr double kComparesPerVisit = 12;

// Whether comparing with all allowed rows takes no more than 1.2 times as long as walking among
// them, where those are visited that it takes to look around and those that are enough; the scan
// finds all hits, the walk 0.95 to 0.99 of them.
bool scan_is_cheap(const Rows& rows, const Allowed& allowed, std::size_t enough) {
  const double scan = static_cast<double>(allowed.count()) * scan_cost(rows);
  return scan < 1.2 * static_cast<double>(24 + enough) * visit_cost(rows);
}

// Fewer than ef, which counts rows of all kinds: at 3/8 of it, filtered searches of evenly spread
// rows kept a recall of 0.95 and more where unfiltered ones had 0.98. Where nearly all rows are
// allowed as many as an unfiltered search keeps, so that to exclude a few costs no recall.
std::size_t enough_for(std::size_t k, std::size_t ef, double share) {
  const double part = std::max(0.375, 2 * share - 1);
  return std::max(candidates_for(k), static_cast<std::size_t>(part * static_cast<double>(ef)));
}

// To wade until enough are found takes enough / share visits, to hop about 1.5 ef. For inner products
// nothing hops: what leads to the rows of great length are others of great length, and where those are
// not allowed hops went past them. Of 100 hits among 120,000 rows, half of them allowed, hops found
// 0.76 where wading found 0.96 in 1.5 times the time, and unfiltered walks 0.90.
bool hop_is_cheap(Metric metric, const Allowed& allowed, std::size_t enough, std::size_t ef) {
  if (metric == Metric::dot) return false;
  return static_cast<double>(enough) > 1.5 * allowed.share() * static_cast<double>(ef);
}

// Where few rows are allowed wading for inner products finds less and less: 0.87, 0.75 and 0.73 of 10
// hits among 20,000 to 100,000 rows of 128 dimensions whose lengths differ, of which 0.3, 0.2 and 0.1
// were allowed at random. Cells found 0.999 and more at all of them, in 2.1 to 2.8 times the time of an
// unfiltered search; with half of the rows allowed 1.0 in 2.2 to 2.6 times, wading 0.96 in 1.1 to 1.4.
//
// Hops find what lies together, and the more rows are enough the fewer of them do: of 100 hits among
// 100,000 x 128, of which 0.3, 0.2 and 0.1 were allowed at random, 0.95, 0.90 and 0.84, and of 10 among
// 60,000 x 784, of which 0.02 were, 0.89. Cells found 0.99 and more in about the same time.
//
// The share around a query counts: of 100 hits among the tenth of 60,000 x 784 that is near it hops
// found 0.993 in 1.5 times the time of an unfiltered search, cells as many in 2.1.
double gather_below(const Graph& graph, double share, std::size_t enough) {
  constexpr double most = 0.45;
  if (graph.cells().count == 0) return 0;
  const bool dot = graph.rows().metric == Metric::dot;
  const double below = dot ? most : std::min(most, static_cast<double>(enough) / 150);
  return share < below ? below : 0;
}

}  // namespace

// A walk takes 0.2 to 0.3 microseconds for each candidate kept, on 4,000 rows of 128 and 784
// dimensions.
bool scan_beats_walk(const Rows& rows, std::size_t ef) {
  const double walk = static_cast<double>(ef) * (170 + 0.2 * static_cast<double>(rows.code_stride));
  return static_cast<double>(rows.count) * scan_cost(rows) <= walk;
}

SearchPlan::SearchPlan(const Graph& graph, std::size_t k_, std::size_t ef_, WalkOn walk_on_,
                       const Allowed* allowed_)
    : k(k_),
      ef(std::min(std::max(ef_, k_), graph.rows().count)),
      walk_on(walk_on_),
      candidates(std::min(candidates_for(k), ef)) {
  if (!allowed_ || allowed_->count() == graph.rows().count) return;
  allowed = allowed_;
  const std::size_t wanted = enough_for(k, ef, allowed->share());
  scan = scan_is_cheap(graph.rows(), *allowed, wanted);
  gather_below = fanlight::gather_below(graph, allowed->share(), wanted);
  look = graph.rows().metric != Metric::dot || gather_below == 0;
  // No more than an unfiltered walk keeps: where k is near ef, more took twice its time.
  enough = std::min(wanted, ef);
  hop = hop_is_cheap(graph.rows().metric, *allowed, enough, ef);
  scan_compares = static_cast<double>(allowed->count()) * scan_cost(graph.rows()) *
                  kComparesPerVisit / visit_cost(graph.rows());
}

}  // namespace fanlight
