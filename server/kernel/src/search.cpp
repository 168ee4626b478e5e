#include "search.h"

#include <algorithm>

#include "scorers.h"

namespace fanlight {
namespace {

// Above it inserting into a sorted array takes longer than two heaps.
constexpr std::size_t kSortedFrontierMax = 512;

template <typename Scorer>
void walk_and_choose(const Graph& graph, const SearchPlan& plan, const Scorer& scorer,
                     SearchRoom& room) {
  const std::size_t wanted = candidates_for(plan.k);
  if (!plan.allowed && plan.ef <= kSortedFrontierMax) {
    room.sorted.start(plan.ef);
    walk(graph, scorer, room.sorted, room.walk);
    room.sorted.best(wanted, room.scan.rows);
  } else {
    room.heaps.start(plan.ef, plan.allowed);
    walk(graph, scorer, room.heaps, room.walk);
    room.heaps.best(wanted, room.scan.rows);
  }
}

void scan_allowed(const Rows& rows, const SearchPlan& plan, const float* query, ScanRoom& room,
                  const HitsOut& out) {
  const Chosen chosen{plan.rows.data(), plan.rows.size()};
  if (plan.walk == WalkOn::codes) {
    scan_codes(rows, query, plan.k, chosen, room, out);
  } else {
    scan_vectors(rows, query, plan.k, chosen, room, out);
  }
}

}  // namespace

SearchPlan::SearchPlan(const Graph& graph, std::size_t k_, std::size_t ef_, WalkOn walk_,
                       const std::optional<Allowed>& allowed_)
    : k(k_), ef(std::min(std::max(ef_, k_), graph.rows().count)), walk(walk_) {
  if (!allowed_ || allowed_->count() == graph.rows().count) return;
  allowed = &*allowed_;
  // A walk that collects allowed rows alone visits about ef / share rows and compares with about
  // as many neighbours of each; a scan compares with the allowed rows and wanders nowhere.
  const double share = static_cast<double>(allowed->count()) / graph.rows().count;
  const double walked = 16.0 * static_cast<double>(ef) / std::max(share, 1e-9);
  scan = static_cast<double>(allowed->count()) <= walked;
  if (scan) rows = allowed->rows();
}

void search(const Graph& graph, const SearchPlan& plan, const float* query, SearchRoom& room,
            const HitsOut& out) {
  const Rows& rows = graph.rows();
  if (plan.scan) return scan_allowed(rows, plan, query, room.scan, out);
  Query& prepared = room.scan.query;
  prepared.prepare(rows, query);
  if (plan.walk == WalkOn::codes) {
    prepared.encode(rows);
    walk_and_choose(graph, plan, CodeScorer(rows, prepared), room);
  } else {
    prepared.make_unit(rows);
    walk_and_choose(graph, plan, VectorScorer(rows, prepared), room);
  }
  const std::vector<std::uint32_t>& found = room.scan.rows;
  rank(rows, prepared, found.data(), found.size(), plan.k, room.scan.best);
  out.write(room.scan.best.sorted());
}

}  // namespace fanlight
