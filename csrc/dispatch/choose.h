// Which instruction set runs.
#pragma once

#include "dispatch/kernels.h"

namespace regard {

// The kernels in this build, the best first, ended by null; and whether this processor has what they need.
extern const Kernels* const BUILT[];
bool supported(const Kernels& kernels) noexcept;

// The fastest that this processor runs, or the one of that name; null where there is none.
const Kernels* choose(const char* name) noexcept;

}  // namespace regard
