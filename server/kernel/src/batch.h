// The queries of one call, spread over threads, until a deadline.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <optional>

#include "thread_pool.h"

namespace fanlight {

using Clock = std::chrono::steady_clock;

// Call answer(i) for i = 0, 1, ... below `queries` on up to `threads` threads. Returns how many
// were answered, which are the first ones: none is begun after the deadline, and every one that
// was begun is finished.
template <typename Answer>
std::size_t answer_batch(std::size_t queries, std::size_t threads,
                         const std::optional<Clock::time_point>& deadline, const Answer& answer) {
  std::atomic<std::size_t> next{0};
  const auto work = [&] {
    while (!deadline || Clock::now() < *deadline) {
      const std::size_t query = next.fetch_add(1, std::memory_order_relaxed);
      if (query >= queries) return;
      answer(query);
    }
  };
  const std::size_t useful = threads < queries ? threads : queries;
  run_with_helpers(useful > 0 ? useful - 1 : 0, work);
  const std::size_t begun = next.load(std::memory_order_relaxed);
  return begun < queries ? begun : queries;
}

}  // namespace fanlight
