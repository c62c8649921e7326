// The next token of many rows: how likely all of them are together, and which are the likeliest; what a call is.
#pragma once

#include "kernels/types.h"

namespace regard {

// Of each row of numbers, contiguous, what is asked for.
struct Ranking {
  std::int64_t rows, columns;
  const float* values;
  float* logsumexp;          // (rows), or null; NaN where one is NaN, or two infinite
  int count;                 // of the greatest, at most as many as there are columns; 0: none
  float* best;               // (rows, count), the greatest first; NaN alone in a row with a NaN
  std::int64_t* places;      // (rows, count): of equal numbers the lower place first
  int threads;
};

}  // namespace regard
