#include "search.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "filtered_walk.h"
#include "frontier.h"
#include "room.h"
#include "scorers.h"
#include "walk.h"

namespace fanlight {
namespace {

// Above it inserting into a sorted array takes longer than two heaps; at 2,048 it takes three
// quarters of their time, at 4,096 as long (measured).
constexpr std::size_t kSortedFrontierMax = 2'048;

// Walks of one thread that take turns. Two are 1.1 to 1.35 times as fast as one; four are slower
// again, since what they wait for pushes each other's out of the caches (measured with batches on
// 8,000 to 100,000 rows).
constexpr std::size_t kLanes = 2;

// Bytes of each vector that are asked for before those found are scored; the rest follows by itself.
// 2 to 3 % of a search (384 dimensions, 8,000 rows).
constexpr std::size_t kFirstBytes = 256;

ScanPlan scan_of(const SearchPlan& plan) {
  const std::vector<std::uint32_t>& rows = plan.allowed->rows();
  return {{plan.k, plan.walk_on == WalkOn::codes}, {rows.data(), rows.size()}};
}

// One query on its way, kept by a thread from query to query.
template <typename WalkOf>
struct Lane {
  Query query;
  WalkOf walk;
  std::size_t number = 0;
  std::vector<std::uint32_t> found;
  TopK best;
};

// Answers queries a step at a time: several lanes hide each other's waits for memory.
template <typename Scorer, typename WalkOf>
class Searcher {
 public:
  Searcher(const Graph& graph, const SearchPlan& plan, const QueryBatch& batch, Claims& claims)
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
    scan_rest();
  }

 private:
  using Lanes = std::array<Lane<WalkOf>, kLanes>;

  // Claim a query for a lane; false when there is none.
  bool begin(Lane<WalkOf>& lane) {
    std::size_t query = 0;
    if (!claims_.claim(query)) return false;
    const Rows& rows = graph_.rows();
    lane.number = query;
    lane.query.prepare(rows, batch_.queries + query * rows.dim);
    Scorer::prepare(rows, lane.query);
    lane.walk.start(graph_, Scorer(rows, lane.query), plan_);
    return true;
  }

  // Go on until memory is waited for; false when the query has been answered.
  bool step(Lane<WalkOf>& lane) {
    if (lane.walk.step(graph_, Scorer(graph_.rows(), lane.query))) return true;
    finish(lane);
    return false;
  }

  void finish(Lane<WalkOf>& lane) {
    const Rows& rows = graph_.rows();
    if (!lane.walk.best(candidates_for(plan_.k), lane.found)) {
      rest_.push_back(lane.number);
      return;
    }
    for (const std::uint32_t row : lane.found) {
      prefetch(rows.vectors + row * rows.dim, std::min(rows.dim * sizeof(float), kFirstBytes));
    }
    rank(rows, lane.query, lane.found.data(), lane.found.size(), plan_.k, lane.best);
    batch_.out(lane.number).write(lane.best.sorted());
  }

  // Answer the queries that a walk could not: those of the calling thread, together.
  void scan_rest() {
    if (rest_.empty()) return;
    scan_each(graph_.rows(), scan_of(plan_), batch_, rest_);
  }

  const Graph& graph_;
  const SearchPlan& plan_;
  const QueryBatch& batch_;
  Claims& claims_;
  std::vector<std::size_t> rest_;
};

template <typename Scorer>
void walk_all(const Graph& graph, const SearchPlan& plan, const QueryBatch& batch, Claims& claims) {
  if (plan.allowed) {
    Searcher<Scorer, FilteredWalk>(graph, plan, batch, claims).run();
  } else if (plan.ef <= kSortedFrontierMax) {
    Searcher<Scorer, Walk<SortedFrontier>>(graph, plan, batch, claims).run();
  } else {
    Searcher<Scorer, Walk<HeapFrontier>>(graph, plan, batch, claims).run();
  }
}

}  // namespace

void search(const Graph& graph, const SearchPlan& plan, const QueryBatch& batch, Claims& claims) {
  if (plan.scan) {
    scan(graph.rows(), scan_of(plan), batch, claims);
  } else if (plan.walk_on == WalkOn::codes) {
    walk_all<CodeScorer>(graph, plan, batch, claims);
  } else {
    walk_all<VectorScorer>(graph, plan, batch, claims);
  }
}

}  // namespace fanlight
