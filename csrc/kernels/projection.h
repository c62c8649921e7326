// A linear layer for few rows, as decoding has them, with what comes after it in a Transformer's block: what a call is.
#pragma once

#include "kernels/types.h"

namespace regard {

// outputs = added + relu(inputs weight' + bias), of which all but the product may be missing. Rows are contiguous.
struct Projection {
  std::int64_t rows, depth, columns;
  const float* inputs;         // (rows, depth)
  const float* packed;         // the weight as pack_weight lays it out
  const float* bias;           // (columns), or null
  bool relu;
  const float* added;          // (rows, columns), or null; may be the outputs themselves
  float* outputs;              // (rows, columns)
  int threads;
};

}  // namespace regard
