// Search without a graph: every row that was chosen is compared.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "allowed.h"
#include "batch.h"
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

// One of several sets of rows that are scanned as one.
struct ScanPart {
  const Rows* rows;
  Chosen chosen;
  std::uint32_t base = 0;  // row r of these is r + base of all, where codes choose candidates
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

// Score the rows listed and keep the k best.
void rank(const Rows& rows, const Query& query, const std::uint32_t* chosen, std::size_t count,
          std::size_t k, TopK& best);

// Answer the queries claimed, on the calling thread.
void scan(const Rows& rows, const ScanPlan& plan, const QueryBatch& batch, Claims& claims);

// Answer the queries listed, on the calling thread.
void scan_each(const Rows& rows, const ScanPlan& plan, const QueryBatch& batch,
               const std::vector<std::size_t>& queries);

// Scan several sets of rows of one metric and dimension, at least one, for the first `count` queries
// of a batch, and add the hits of each to its best. Where codes choose candidates they do so among
// all rows: as many are scored as of one set, and no more than that were seen to be of use.
void scan_joined(const std::vector<ScanPart>& parts, const ScanGoal& goal, const QueryBatch& batch,
                 std::size_t count, std::vector<TopK>& best);

}  // namespace fanlight
