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
  std::vector<Candidate> found;
};

// Walks for queries a step at a time: several lanes hide each other's waits for memory.
template <typename Scorer, typename WalkOf>
class Searcher {
 public:
  Searcher(const Graph& graph, const SearchPlan& plan, const QueryBatch& batch, Claims& claims,
           const TakeFound& take)
      : graph_(graph), plan_(plan), batch_(batch), claims_(claims), take_(take) {}

  // Returns the queries that a scan must answer.
  std::vector<std::size_t> run() {
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
    return std::move(rest_);
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
    if (lane.walk.best(plan_.candidates, lane.found)) {
      take_(lane.number, lane.query, lane.found);
    } else {
      rest_.push_back(lane.number);
    }
  }

  const Graph& graph_;
  const SearchPlan& plan_;
  const QueryBatch& batch_;
  Claims& claims_;
  const TakeFound& take_;
  std::vector<std::size_t> rest_;
};

template <typename Scorer>
std::vector<std::size_t> walk_on(const Graph& graph, const SearchPlan& plan, const QueryBatch& batch,
                                 Claims& claims, const TakeFound& take) {
  if (plan.allowed) return Searcher<Scorer, FilteredWalk>(graph, plan, batch, claims, take).run();
  if (plan.ef <= kSortedFrontierMax) {
    return Searcher<Scorer, Walk<SortedFrontier>>(graph, plan, batch, claims, take).run();
  }
  return Searcher<Scorer, Walk<HeapFrontier>>(graph, plan, batch, claims, take).run();
}

}  // namespace

std::vector<std::size_t> walk(const Graph& graph, const SearchPlan& plan, const QueryBatch& batch,
                              Claims& claims, const TakeFound& take) {
  return plan.walk_on == WalkOn::codes ? walk_on<CodeScorer>(graph, plan, batch, claims, take)
                                       : walk_on<VectorScorer>(graph, plan, batch, claims, take);
}

void search(const Graph& graph, const SearchPlan& plan, const QueryBatch& batch, Claims& claims) {
  if (plan.scan) {
    scan(graph.rows(), scan_of(plan), batch, claims);
    return;
  }
  TopK& best = of_this_thread<TopK>();
  const auto rest = walk(graph, plan, batch, claims,
                         [&](std::size_t query, const Query& prepared, const auto& found) {
                           rank(graph.rows(), prepared, found, plan.k, best);
                           batch.out(query).write(best.sorted());
                         });
  if (!rest.empty()) scan_each(graph.rows(), scan_of(plan), batch, rest);
}

}  // namespace fanlight
