#include "build_threads.h"

#include <pthread.h>
#include <sched.h>
#include <time.h>

#include <condition_variable>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace fanlight {
namespace {

void give_way() {
#if defined(SCHED_IDLE)
  const sched_param none{};
  pthread_setschedparam(pthread_self(), SCHED_IDLE, &none);
#endif
}

double cpu_seconds_of_this_thread() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

class Crew {
 public:
  explicit Crew(const std::function<void()>& work) : work_(work) {}

  void start(std::size_t threads, bool idle) {
    threads_.reserve(threads);
    try {
      while (threads_.size() < threads) {
        threads_.emplace_back([this, idle] {
          if (idle) give_way();
          take_part();
          end();
        });
        pthread_setname_np(threads_.back().native_handle(), "fanlight-build");
      }
    } catch (const std::system_error&) {
    }
  }

  void take_part() {
    const double before = cpu_seconds_of_this_thread();
    std::exception_ptr failure;
    try {
      work_();
    } catch (...) {
      failure = std::current_exception();
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    if (failure) failure_ = failure;
    cpu_seconds_ += cpu_seconds_of_this_thread() - before;
  }

  // Whether all ended in that time; false at once when none was started.
  bool wait(std::chrono::duration<double> patience) {
    std::unique_lock<std::mutex> lock(mutex_);
    const auto all = [this] { return ended_ == threads_.size(); };
    return !threads_.empty() && changed_.wait_for(lock, patience, all);
  }

  double finish() {
    for (std::thread& thread : threads_) thread.join();
    if (failure_) std::rethrow_exception(failure_);
    return cpu_seconds_;
  }

 private:
  void end() {
    const std::lock_guard<std::mutex> lock(mutex_);
    ++ended_;
    changed_.notify_one();
  }

  const std::function<void()>& work_;
  std::vector<std::thread> threads_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t ended_ = 0;
  std::exception_ptr failure_;
  double cpu_seconds_ = 0;
};

}  // namespace

double run_on_new_threads(std::size_t threads, std::chrono::duration<double> patience,
                          const std::function<void()>& work) {
  const bool idle = patience.count() > 0;
  Crew crew(work);
  crew.start(idle ? threads : threads - 1, idle);
  if (!idle || !crew.wait(patience)) crew.take_part();
  return crew.finish();
}

}  // namespace fanlight
