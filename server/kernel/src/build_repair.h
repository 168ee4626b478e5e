// Makes every row of a finished graph reachable.
#pragma once

#include <cstddef>

#include "build_graph.h"

namespace fanlight {

// Let every row be reached from the entry point on the lowest level, by a new link from a near
// row to each that is not. A link gives way only where no row depends on it. Returns how many
// rows had to be linked. For one thread alone; there must be an entry point.
//
// A neighbour's list keeps a row only as long as no better ones fill it, so that some rows end
// up in no list at all; hnswlib leaves them there.
std::size_t make_reachable(GrowingGraph& graph);

}  // namespace fanlight
