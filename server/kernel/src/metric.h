#pragma once

namespace fanlight {

// How two vectors are compared. Scores are larger for nearer vectors under every metric.
enum class Metric { cosine, dot, l2 };

}  // namespace fanlight
