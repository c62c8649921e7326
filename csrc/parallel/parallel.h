// Tasks on several threads.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/types.h"

namespace regard {

// Task `index` of a call, on one thread, with `room` numbers of scratch that are aligned and hold anything.
typedef void (*Task)(const void* call, std::int64_t index, float* room);

// Runs tasks 0 to count - 1, in any order, on at most `threads` threads, and waits for them. In a process that was
// forked from one that had run in parallel it runs on one thread: OpenMP's own threads do not live through a fork.
Status run_parallel(int threads, std::int64_t count, std::size_t room, Task task, const void* call) noexcept;

}  // namespace regard
