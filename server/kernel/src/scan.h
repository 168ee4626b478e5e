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

// What is the same for all queries of one call.
struct ScanPlan {
  std::size_t k;
  Chosen chosen;
  bool codes;  // let codes choose candidates; otherwise exactly the k best are found
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

}  // namespace fanlight
