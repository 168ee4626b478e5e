// Rows whose codes are equal.
//
// Walks that compare codes cannot tell such rows apart, and many of them ruin a graph: they fill
// each other's lists, and no walk that has come to them finds its way out, nor another row its
// way in (of 8,000 rows with 7,000 equal ones, hnswlib finds none of the others). So only the
// first of them, the original, is inserted as a row like others. The copies are hung up under it
// once the graph is there: every copy is listed by its original or by an earlier copy, and lists
// different rows around the original, so that a walk that collects copies sees new rows as well.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "build_graph.h"

namespace fanlight {

// For each row the first one with equal codes, which may be the row itself. For dot and l2 equal
// codes also stand for equal lengths.
std::vector<std::uint32_t> originals_of(const CodeSpace& space);

// Write the lists of all copies on the lowest level, and list them in turn. All rows with an
// original are replaced, no matter what they listed. For one thread alone.
void hang_up_copies(GrowingGraph& graph, const std::vector<std::uint32_t>& originals);

}  // namespace fanlight
