// What a call of the fused softmax attention is: pointers, sizes and strides, and nothing of torch or Python.
#pragma once

#include "kernels/types.h"

namespace regard {

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

// What is added to the scores of pairs, in float32. Tensors are (batch, heads, queries, keys), of strides 0 where they are
// the same; a gradient is laid out by strides of its own, of which `part` is from one part of the backward pass to the next.
struct Term {
  enum Kind : int {
    bias = 0,      // tensor[b, h, i, j]; its gradient
    hidden = 1,    // -inf where tensor, of bytes, is 0
    alibi = 2,     // -tensor[h] |u_j - u_i|
    relative = 3,  // tensor[h, u_j - u_i - low], clamped to its `span` numbers; its gradient
    near = 4,      // -(j - tensor[b, h, i])^2 factor; its gradient
  } kind;
  Tensor tensor, gradient;  // no gradient is wanted where it has no data
  std::int64_t part;
  const std::int32_t *query_positions, *key_positions;  // u, (batch, length)
  std::int64_t query_batch, key_batch;                  // strides of their rows
  std::int64_t low, span;
  float factor;
};

constexpr int MOST_TERMS = 8;

// What is recorded of the weights, before dropout, in float32. Results are contiguous, (batch, heads, queries) and what is said.
struct Observation {
  enum Kind : int {
    top_k = 0,        // the `first` highest weights, (.., first), and in `keys` their keys
    entropy = 1,      // -sum p ln p
    received = 2,     // sums over queries, (batch, heads, parts, keys), added up over the parts by the caller
    log_sum_exp = 3,  // of the scores
    max_score = 4,
    mass = 5,         // sum p chosen[b, j]; of all keys where nothing is chosen
    distance = 6,     // sum p |u_j - u_i| / sum p
    pooled = 7,       // (batch, heads, parts, first, second): sums of row i * first / queries and column j * second / keys
    rows = 8,         // the weights of queries keys[0..first), (batch, heads, first, keys)
  } kind;
  float* data;
  std::int64_t* keys;
  std::int64_t first, second;
  const float* chosen;
  const std::int32_t *query_positions, *key_positions;
  std::int64_t chosen_batch, query_batch, key_batch;  // strides of their rows
  const float* gradient;  // laid out as the result, but (batch, heads, keys) of what is received; or null
};

// Attention whose rows of weights are kept as a whole for some queries at a time: any normaliser, any term, any observation.
// Tensors are of float32.
struct Rows {
  enum Normalizer : int { softmax = 0, sigmoid = 1, sparsemax = 2, entmax15 = 3, sum = 4 } normalizer;
  float cap;                   // scores become cap tanh(score / cap), before terms are added; 0: they do not
  float factor;                // of the scores of a softmax: 1 / temperature
  std::int64_t highest;        // a softmax of as many of the highest scores; 0: of all
  const float* number;         // of each head: the sink of a softmax or the bias of a sigmoid; or null
  std::int64_t number_head;    // stride
  float* number_gradient;      // (batch, heads, parts)
  bool by_batch, by_head;      // whether batch rows and heads have gradients of terms of their own
  int parts;                   // of the forward pass
  const Term* terms;
  int term_count;
  const Observation* observations;
  int observation_count;
};

// context = softmax(scale * scores) value, over the keys that bounds allow. Scores are products of queries and keys; or,
// where there is a weight, sums of weight[h] tanh(query[h] + key[h]), of float32. Or whatever `rows` say.
struct Attention {
  std::int64_t batch, heads, kv_heads, queries, keys, width, value_width;
  Type type;
  float scale;
  Bounds bounds;
  Dropout dropout;
  Tensor query, key, value;
  const float* weight;  // (heads, width), or null
  const Rows* rows;     // or null
  int threads;
};

// Keys and values in pages (pages, kv_heads, size, width), of which the batch stride is that of a page: key j of batch row b
// lies in page table[b, j / size], and the call's keys are as many as a row of the table could hold. Forward alone.
struct Pages {
  const void* table;           // int64 if wide, else int32; null where keys and values are no pages
  std::int64_t batch, column;  // strides of the table, in elements
  std::int64_t count, size;    // how many pages there are, and how many keys are in each
  bool wide;
};

struct AttentionForward : Attention {
  Tensor context;    // float32 whatever the call's type, so that the backward pass has it before it is rounded
  float* logsumexp;  // (batch, heads, queries), -inf where a query sees nothing; or null. Not of rows
  Pages pages;
};

// Where gradients of keys or values are summed, in float32: (batch, kv_heads, parts, keys, padded width), whose sum over the
// parts is the gradient. Strides in elements; columns are contiguous.
struct Places {
  float* data;
  std::int64_t batch, head, part, row;
};

// `parts` and the paddings come from the plan.
struct AttentionBackward : Attention {
  Tensor context;  // float32; rows do not need it, nor the log-sum-exp
  Tensor context_gradient;
  const float* logsumexp;
  const float* logsumexp_gradient;  // or null
  Tensor query_gradient;
  Places key_gradient, value_gradient;
  float* weight_gradient;  // (batch, heads, parts, width), where there is a weight
  int parts;
  std::int64_t padded_width, padded_value_width;
};

struct BackwardPlan {
  int parts;
  std::int64_t padded_width, padded_value_width;
};

}  // namespace regard
