#include "thread_pool.h"

#include <pthread.h>

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace fanlight {
namespace {

// Everything is guarded by the pool's mutex.
struct Job {
  explicit Job(const std::function<void()>& w, std::size_t helpers) : work(w), wanted(helpers) {}

  const std::function<void()>& work;
  std::size_t wanted;  // helpers that may still begin
  std::size_t running = 0;
  std::exception_ptr failure;
  std::condition_variable ended;
};

class ThreadPool {
 public:
  void run(std::size_t helpers, const std::function<void()>& work);
  void start(std::size_t helpers);
  void stop();

 private:
  void grow(std::size_t threads);
  void serve();
  void help(Job& job, std::unique_lock<std::mutex>& lock);

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Job*> jobs_;
  std::vector<std::thread> threads_;
  bool stopping_ = false;
};

void ThreadPool::run(std::size_t helpers, const std::function<void()>& work) {
  Job job(work, helpers);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    grow(helpers);
    if (!threads_.empty()) jobs_.push_back(&job);
  }
  wake_.notify_all();
  std::exception_ptr failure;
  try {
    work();
  } catch (...) {
    failure = std::current_exception();
  }
  std::unique_lock<std::mutex> lock(mutex_);
  jobs_.erase(std::remove(jobs_.begin(), jobs_.end(), &job), jobs_.end());
  job.ended.wait(lock, [&] { return job.running == 0; });
  if (!failure) failure = job.failure;
  if (failure) std::rethrow_exception(failure);
}

void ThreadPool::start(std::size_t helpers) {
  const std::lock_guard<std::mutex> lock(mutex_);
  grow(helpers);
}

// Fewer threads than asked for is no failure: the calling thread does what is left.
void ThreadPool::grow(std::size_t threads) {
  if (stopping_) return;
  try {
    while (threads_.size() < threads) {
      threads_.emplace_back([this] { serve(); });
      pthread_setname_np(threads_.back().native_handle(), "fanlight-kernel");
    }
  } catch (const std::system_error&) {
  }
}

void ThreadPool::serve() {
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
    if (stopping_) return;
    help(*jobs_.front(), lock);
  }
}

void ThreadPool::help(Job& job, std::unique_lock<std::mutex>& lock) {
  ++job.running;
  if (--job.wanted == 0) jobs_.pop_front();
  lock.unlock();
  std::exception_ptr failure;
  try {
    job.work();
  } catch (...) {
    failure = std::current_exception();
  }
  lock.lock();
  if (failure && !job.failure) job.failure = failure;
  if (--job.running == 0) job.ended.notify_one();
}

void ThreadPool::stop() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

// Never destroyed: a thread may still be in a call while the process exits. After a fork the
// child forgets its parent's pool, whose threads it does not have.
ThreadPool* pool = nullptr;
std::mutex pool_mutex;

void stop_pool() {
  if (pool) pool->stop();
}

void register_handlers() {
  pthread_atfork([] { pool_mutex.lock(); }, [] { pool_mutex.unlock(); },
                 [] {
                   pool = nullptr;
                   pool_mutex.unlock();
                 });
  std::atexit(stop_pool);
}

ThreadPool& shared_pool() {
  static std::once_flag registered;
  std::call_once(registered, register_handlers);
  const std::lock_guard<std::mutex> lock(pool_mutex);
  if (!pool) pool = std::make_unique<ThreadPool>().release();
  return *pool;
}

}  // namespace

void run_with_helpers(std::size_t helpers, const std::function<void()>& work) {
  if (helpers == 0) return work();
  shared_pool().run(helpers, work);
}

void start_helpers(std::size_t helpers) { shared_pool().start(helpers); }

}  // namespace fanlight
