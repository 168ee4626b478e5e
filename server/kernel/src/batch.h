// The queries of one call, spread over threads, until a deadline.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <optional>

#include "thread_pool.h"

namespace fanlight {

using Clock = std::chrono::steady_clock;

// Hands out the queries of a call, in order, to whoever asks next.
class Claims {
 public:
  Claims(std::size_t queries, std::optional<Clock::time_point> deadline)
      : queries_(queries), deadline_(deadline) {}

  // Claim the next query, which must then be answered; false when none is left or the deadline
  // has passed.
  bool claim(std::size_t& query) { return claim(1, query) == 1; }

  // Claim the next ones likewise, at most `most`; returns how many.
  std::size_t claim(std::size_t most, std::size_t& first) {
    if (deadline_ && Clock::now() >= *deadline_) return 0;
    first = next_.fetch_add(most, std::memory_order_relaxed);
    return first < queries_ ? std::min(most, queries_ - first) : 0;
  }

  // How many were claimed: the first ones.
  std::size_t claimed() const { return std::min(next_.load(std::memory_order_relaxed), queries_); }

 private:
  const std::size_t queries_;
  const std::optional<Clock::time_point> deadline_;
  std::atomic<std::size_t> next_{0};
};

// Answer queries on up to `threads` threads, each of which calls work(claims) and answers what it
// claims, about `at_once` at a time. Returns how many were answered, which are the first ones.
template <typename Work>
std::size_t answer_batch(std::size_t queries, std::size_t threads, std::size_t at_once,
                         const std::optional<Clock::time_point>& deadline, const Work& work) {
  Claims claims(queries, deadline);
  const std::size_t useful = std::min(threads, (queries + at_once - 1) / at_once);
  run_with_helpers(useful > 0 ? useful - 1 : 0, [&] { work(claims); });
  return claims.claimed();
}

}  // namespace fanlight
