#include "parallel/parallel.h"

#include <pthread.h>

#include <atomic>
#include <cstdlib>

namespace regard {
namespace {

std::atomic<bool> went_parallel{false}, forked{false};

void after_fork() {
  if (went_parallel) forked = true;
}

const int registered = pthread_atfork(nullptr, nullptr, after_fork);

// Scratch that a thread keeps from call to call: fresh pages cost more than small calls do.
struct Scratch {
  float* data = nullptr;
  std::size_t numbers = 0;

  ~Scratch() { std::free(data); }

  float* of(std::size_t wanted) {
    if (wanted > numbers) {
      std::free(data);
      data = static_cast<float*>(std::aligned_alloc(64, (wanted * sizeof(float) + 63) / 64 * 64));
      numbers = data ? wanted : 0;
    }
    return data;
  }
};

thread_local Scratch scratch;

}  // namespace

Status run_parallel(int threads, std::int64_t count, std::size_t room, Task task, const void* call) noexcept {
  if (threads > count) threads = static_cast<int>(count);
  if (threads <= 1 || forked) {
    float* numbers = scratch.of(room);
    if (!numbers) return Status::no_memory;
    for (std::int64_t index = 0; index < count; ++index) task(call, index, numbers);
    return Status::done;
  }
  went_parallel = true;
  std::atomic<bool> failed{false};
  std::int64_t chunk = count / (8 * threads);
  if (chunk < 1) chunk = 1;
#pragma omp parallel num_threads(threads)
  {
    float* numbers = scratch.of(room);
    if (!numbers) failed = true;
#pragma omp for schedule(dynamic, chunk)
    for (std::int64_t index = 0; index < count; ++index)
      if (numbers) task(call, index, numbers);
  }
  return failed ? Status::no_memory : Status::done;
}

}  // namespace regard
