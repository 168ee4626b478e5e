// The k best hits of those that were shown.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace fanlight {

struct Hit {
  float score;
  std::uint32_t row;
  std::int64_t order;  // ties are broken by it, ascending
};

inline bool better(const Hit& a, const Hit& b) {
  return a.score > b.score || (a.score == b.score && a.order < b.order);
}

// A heap with the worst hit on top; scores must not be NaN.
class TopK {
 public:
  void start(std::size_t k) {
    k_ = k;
    hits_.clear();
  }

  // No hit with a lower score than this can still be taken.
  float floor() const {
    return hits_.size() < k_ || k_ == 0 ? -std::numeric_limits<float>::infinity()
                                        : hits_.front().score;
  }

  void add(const Hit& hit) {
    if (hits_.size() < k_) {
      hits_.push_back(hit);
      std::push_heap(hits_.begin(), hits_.end(), better);
    } else if (k_ > 0 && better(hit, hits_.front())) {
      std::pop_heap(hits_.begin(), hits_.end(), better);
      hits_.back() = hit;
      std::push_heap(hits_.begin(), hits_.end(), better);
    }
  }

  // The hits, best first; the heap is a heap no more.
  const std::vector<Hit>& sorted() {
    std::sort_heap(hits_.begin(), hits_.end(), better);
    return hits_;
  }

 private:
  std::size_t k_ = 0;
  std::vector<Hit> hits_;
};

}  // namespace fanlight
