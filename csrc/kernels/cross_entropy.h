// Output projection and label-smoothed cross-entropy in one: what a call is.
#pragma once

#include "kernels/types.h"

namespace regard {

// loss = sum over rows of -sum_v q(v) ln softmax(weight hidden)(v), q = (1 - smoothing) [v = target] + smoothing / vocabulary;
// and the gradients of its mean over the rows. All tensors are contiguous.
struct CrossEntropy {
  std::int64_t rows, width, vocabulary;
  Type type;                   // of hidden and weight
  const void *hidden, *weight; // (rows, width) and (vocabulary, width)
  const std::int64_t* target;  // (rows), each in [0, vocabulary)
  float smoothing;
  double* loss;
  float *hidden_gradient, *weight_gradient;  // or null
  int threads;
};

}  // namespace regard
