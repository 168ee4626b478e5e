// Search without a graph: every row that was chosen is compared.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "allowed.h"
#include "batch.h"
#include "frontier.h"
#include "hits.h"
#include "query.h"
#include "rows.h"
#include "top_k.h"

namespace fanlight {

// Rows to compare: those listed, or all.
struct Chosen {
  const std::uint32_t* rows = nullptr;  // null: row i is i
  std::size_t count = 0;
};

// What is to be found of each query.
struct ScanGoal {
  std::size_t k;
  bool codes;  // let codes choose candidates; otherwise exactly the k best are found
};

// What is the same for all queries of one call.
struct ScanPlan {
  ScanGoal goal;
  Chosen chosen;
};

// One of several sets of rows that are searched as one.
struct JoinedRows {
  const Rows* rows;
  Chosen scanned;          // rows to compare
  std::uint32_t base = 0;  // row r of these is r + base of all
};

// The queries of a call and where their hits go.
struct QueryBatch {
  const float* queries;
  std::function<HitsOut(std::size_t)> out;
  std::size_t scan_group;  // queries scanned together: a row in the cache serves all of them
};

constexpr std::size_t kMaxScanGroup = 8;

inline Chosen chosen_of(const Rows& rows, const Allowed* allowed) {
  if (!allowed) return {nullptr, rows.count};
  return {allowed->rows().data(), allowed->count()};
}

// How many candidates are scored when keys, which are not exact, chose them.
std::size_t candidates_for(std::size_t k);

// How many rows are kept while they are compared.
std::size_t kept_for(const ScanGoal& goal);

// Score the candidates and keep the k best.
void rank(const Rows& rows, const Query& query, const std::vector<Candidate>& candidates,
          std::size_t k, TopK& best);

// Answer the queries claimed, on the calling thread.
void scan(const Rows& rows, const ScanPlan& plan, const QueryBatch& batch, Claims& claims);

// Answer the queries listed, on the calling thread.
void scan_each(const Rows& rows, const ScanPlan& plan, const QueryBatch& batch,
               const std::vector<std::size_t>& queries);

// Scan several sets of rows of one metric and dimension, at least one, for the first `count` queries
// of a batch. `found` has of each what walks found in the same sets, of kept_for(goal) places and with
// the keys of codes for scores where codes choose candidates; and gets its hits. So candidates are
// chosen among all rows: as many are scored as of one set, and no more were seen to be of use.
void scan_joined(const std::vector<JoinedRows>& sets, const ScanGoal& goal, const QueryBatch& batch,
                 std::size_t count, std::vector<TopK>& found);

}  // namespace fanlight
