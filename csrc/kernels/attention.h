// What a call of the fused softmax attention is: pointers, sizes and strides, and nothing of torch or Python.
#pragma once

#include <cstdint>

namespace regard {

enum class Status : int { done = 0, no_memory = 1, no_such_isa = 2 };

enum class Type : int { float32 = 0, bfloat16 = 1 };

// A tensor of four dimensions (batch, heads, length, width), of the call's type; strides in elements.
struct Tensor {
  void* data;
  std::int64_t batch, head, row, column;
};

// The keys that each query may see: `count` half-open intervals [low, high), int64 (rows, heads, queries, count, 2), of
// which the last two dimensions are contiguous. A stride of 0 serves all rows, heads or queries. No intervals: every key.
struct Bounds {
  const std::int64_t* data;
  std::int64_t batch, head, row;  // strides, in elements
  int count;                      // 0, 1 or 2
};

// Weights are dropped by the contract of regard/attention/random.py.
struct Dropout {
  std::uint64_t seed;
  std::uint32_t threshold;  // round(p * 2^32); nothing is dropped at 0
  float scale;              // 1 / (1 - p)
};

// context = softmax(scale * scores) value, over the keys that bounds allow. Scores are products of queries and keys; or,
// where there is a weight, sums of weight[h] tanh(query[h] + key[h]), of float32. Of products of float32, in place of softmax
// sparsemax (power 1) or 1.5-entmax (power 2).
struct Attention {
  std::int64_t batch, heads, kv_heads, queries, keys, width, value_width;
  Type type;
  float scale;
  Bounds bounds;
  Dropout dropout;
  Tensor query, key, value;
  const float* weight;  // (heads, width), or null
  int power;            // 0: softmax
  int threads;
};

struct AttentionForward : Attention {
  Tensor context;    // float32 whatever the call's type, so that the backward pass has it before it is rounded
  float* logsumexp;  // (batch, heads, queries), -inf where a query sees nothing; or null. Sparse: csrc/kernels/sparse.h
};

// Gradients of keys and values are summed in float32, in `parts` places (batch, kv_heads, parts, keys, padded width)
// whose sum over the parts is the gradient; `parts` and the paddings come from the plan.
struct AttentionBackward : Attention {
  Tensor context;  // float32
  Tensor context_gradient;
  const float* logsumexp;
  const float* logsumexp_gradient;  // or null
  Tensor query_gradient;
  float *key_gradient, *value_gradient;
  float* weight_gradient;  // (batch, heads, parts, width), where there is a weight
  int parts;
  std::int64_t padded_width, padded_value_width;
};

struct BackwardPlan {
  int parts;
  std::int64_t padded_width, padded_value_width;
};

}  // namespace regard
