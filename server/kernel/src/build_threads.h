// Threads that build.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>

namespace fanlight {

// Call work() on `threads` new threads, which end with the call. Each call takes a share of what
// there is to do, so that fewer threads than asked for do the same.
//
// Without patience this thread is one of them, and they inherit its priority. With it, this one
// waits, and the others run only when nobody else wants a core (SCHED_IDLE of Linux; elsewhere
// they are ordinary ones). When they have not ended in that time this one takes part, so that work
// goes on while all cores are taken.
//
// Returns the seconds of CPU that work() took, on all threads together.
double run_on_new_threads(std::size_t threads, std::chrono::duration<double> patience,
                          const std::function<void()>& work);

}  // namespace fanlight
