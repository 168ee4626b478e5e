// Exact and nearly exact search without a graph.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

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

// What one scan needs, kept by each thread from query to query.
struct ScanRoom {
  Query query;
  TopK best;
  TopK candidates;
  std::vector<std::uint32_t> rows;
};

// How many candidates are scored when keys, which are not exact, chose them.
std::size_t candidates_for(std::size_t k);

// Score the rows listed and keep the k best.
void rank(const Rows& rows, const Query& query, const std::uint32_t* chosen, std::size_t count,
          std::size_t k, TopK& best);

// The k best of the rows chosen by their scores.
void scan_vectors(const Rows& rows, const float* query, std::size_t k, const Chosen& chosen,
                  ScanRoom& room, const HitsOut& out);

// The same of candidates that were chosen by the keys of codes.
void scan_codes(const Rows& rows, const float* query, std::size_t k, const Chosen& chosen,
                ScanRoom& room, const HitsOut& out);

}  // namespace fanlight
