// Dropout of features, the residual sum and layer norm in one: what a call is.
#pragma once

#include "kernels/types.h"

namespace regard {

// Rows of features, all contiguous. What is dropped of a branch is decided for batch 0, head 0, query = row and key = feature.
struct Residual {
  std::int64_t rows, width;
  Type type, branch_type;  // of the branch and its gradient, and of all else that says nothing
  Dropout dropout;
  int threads;
};

// sum = inputs + dropout(branch); and where there is a gain, normed = (sum - mean) * inverse * gain + shift, of the sum as it
// is written, with inverse = 1 / sqrt(variance + eps).
struct ResidualForward : Residual {
  const void *inputs, *branch;  // the inputs may be null: dropout alone
  void* sum;
  const float *gain, *shift;  // (width), or null both
  float eps;
  void* normed;
  float *mean, *inverse;  // (rows)
};

// From the gradients of what was normed, and of the sum where it went elsewhere too.
struct ResidualBackward : Residual {
  const void *sum, *normed_gradient, *sum_gradient;  // the last may be null
  const float *mean, *inverse, *gain;
  void *inputs_gradient, *branch_gradient;  // each may be null
  float *gain_gradient, *shift_gradient;    // (width)
};

}  // namespace regard
