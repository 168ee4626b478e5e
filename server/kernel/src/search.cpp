#include "search.h"

#include <algorithm>
#include <array>

#include "room.h"
#include "scan.h"
#include "scorers.h"
#include "walk.h"

namespace fanlight {
namespace {

// Above it inserting into a sorted array takes longer than two heaps.
constexpr std::size_t kSortedFrontierMax = 512;

// Walks of one thread that take turns. Two are 1.1 to 1.35 times as fast as one; four are slower
// again, since what they wait for pushes each other's out of the caches (measured as above).
constexpr std::size_t kLanes = 2;

// What one query needs on its way, kept by a thread from query to query.
template <typename Frontier>
struct Lane {
  Query query;
  Walk<Frontier> walk;
  std::vector<std::uint32_t> found;
  TopK best;
  HitsOut out{};
  enum class Next { none, gather, compare, rank } next = Next::none;
};

void start_frontier(SortedFrontier& frontier, const SearchPlan& plan) { frontier.start(plan.ef); }

void start_frontier(HeapFrontier& frontier, const SearchPlan& plan) {
  frontier.start(plan.ef, plan.allowed);
}

// Answers queries a step at a time: several lanes hide each other's waits for memory.
template <typename Scorer, typename Frontier>
class Searcher {
 public:
  Searcher(const Graph& graph, const SearchPlan& plan, const SearchBatch& batch, Claims& claims)
      : graph_(graph), plan_(plan), batch_(batch), claims_(claims) {}

  void run() {
    Lanes& lanes = of_this_thread<Lanes>();
    std::size_t active = 0;
    while (active < kLanes && begin(lanes[active])) ++active;
    while (active > 0) {
      for (std::size_t i = 0; i < active;) {
        if (step(lanes[i]) || begin(lanes[i])) {
          ++i;
        } else {
          std::swap(lanes[i], lanes[--active]);
        }
      }
    }
  }

 private:
  using LaneOf = Lane<Frontier>;
  using Lanes = std::array<LaneOf, kLanes>;
  using Next = typename LaneOf::Next;

  // Claim a query for a lane; false when there is none.
  bool begin(LaneOf& lane) {
    std::size_t query = 0;
    if (!claims_.claim(query)) return false;
    lane.out = batch_.out(query);
    lane.query.prepare(graph_.rows(), batch_.queries + query * graph_.rows().dim);
    Scorer::prepare(graph_.rows(), lane.query);
    start_frontier(lane.walk.frontier(), plan_);
    lane.walk.start(graph_, Scorer(graph_.rows(), lane.query));
    lane.next = Next::gather;
    return true;
  }

  // Go on until memory is waited for; false when the query has been answered.
  bool step(LaneOf& lane) {
    const Scorer scorer(graph_.rows(), lane.query);
    if (lane.next == Next::rank) return finish(lane);
    if (lane.next == Next::compare) {
      lane.walk.compare(graph_, scorer);
      lane.next = Next::gather;
    } else {
      lane.next = lane.walk.gather(graph_, scorer) ? Next::compare : Next::rank;
      if (lane.next == Next::rank) choose(lane);
    }
    return true;
  }

  void choose(LaneOf& lane) {
    lane.walk.frontier().best(candidates_for(plan_.k), lane.found);
  }

  bool finish(LaneOf& lane) {
    rank(graph_.rows(), lane.query, lane.found.data(), lane.found.size(), plan_.k, lane.best);
    lane.out.write(lane.best.sorted());
    return false;
  }

  const Graph& graph_;
  const SearchPlan& plan_;
  const SearchBatch& batch_;
  Claims& claims_;
};

template <typename Scorer>
void walk_all(const Graph& graph, const SearchPlan& plan, const SearchBatch& batch,
              Claims& claims) {
  if (!plan.allowed && plan.ef <= kSortedFrontierMax) {
    Searcher<Scorer, SortedFrontier>(graph, plan, batch, claims).run();
  } else {
    Searcher<Scorer, HeapFrontier>(graph, plan, batch, claims).run();
  }
}

void scan_all(const Graph& graph, const SearchPlan& plan, const SearchBatch& batch,
              Claims& claims) {
  ScanRoom& room = of_this_thread<ScanRoom>();
  const Rows& rows = graph.rows();
  const Chosen chosen{plan.rows.data(), plan.rows.size()};
  const auto scan_one = plan.walk == WalkOn::codes ? scan_codes : scan_vectors;
  for (std::size_t query = 0; claims.claim(query);) {
    scan_one(rows, batch.queries + query * rows.dim, plan.k, chosen, room, batch.out(query));
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

void search(const Graph& graph, const SearchPlan& plan, const SearchBatch& batch, Claims& claims) {
  if (plan.scan) {
    scan_all(graph, plan, batch, claims);
  } else if (plan.walk == WalkOn::codes) {
    walk_all<CodeScorer>(graph, plan, batch, claims);
  } else {
    walk_all<VectorScorer>(graph, plan, batch, claims);
  }
}

}  // namespace fanlight
