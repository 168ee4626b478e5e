// The kernel's own threads, shared by all calls of a process.
#pragma once

#include <cstddef>
#include <functional>

namespace fanlight {

// Run `work` on the calling thread and, at the same time, on up to `helpers` threads of the pool.
// Returns when every run that began has ended; throws what the first of them to fail threw.
// Threads are started when they are first needed and joined at exit. A child process after a
// fork starts its own.
void run_with_helpers(std::size_t helpers, const std::function<void()>& work);

// Start so many threads of the pool, if it has fewer, now and at the priority of the calling thread.
void start_helpers(std::size_t helpers);

}  // namespace fanlight
