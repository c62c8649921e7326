// The same mathematics, a pair at a time, for queries, keys or values that are NaN or infinite.
//
// Products of whole blocks multiply a weight of zero with what a query may not see, and zero times NaN is NaN. Here
// what a query may not see is not read, so that a NaN reaches exactly the queries that see it, and their gradients.
#pragma once

#include "kernels/block.h"

namespace regard::REGARD_ISA {

template <typename T>
static float score_of(const Attention& call, std::int64_t head, const Matrix<const T>& query, std::int64_t i,
                      const Matrix<const T>& key, std::int64_t j) {
  float sum = 0.0f;
  for (int k = 0; k < call.width; ++k) {
    const float q = read(query.at(i, k)), c = read(key.at(j, k));
    sum += call.scale * LOG2_E * (call.weight ? call.weight[head * call.width + k] * __builtin_tanhf(q + c) : q * c);
  }
  return sum;
}

static inline float power_of_two(float x) { return exp2(broadcast(x))[0]; }

// `room`: value_width numbers.
template <typename T>
static void exact_forward(const AttentionForward& call, const Group& group, std::int64_t first, int queries,
                          const Visible& visible, const Keep* keep, float* room) {
  const Matrix<const T> query(call.query, group.batch, group.head);
  const Matrix<const T> key(call.key, group.batch, group.kv_head), value(call.value, group.batch, group.kv_head);
  const Matrix<float> context(call.context, group.batch, group.head);
  for (int i = 0; i < queries; ++i) {
    float highest = -__builtin_inff(), sum = 0.0f;
    for (int j = 0; j < call.keys; ++j)
      if (visible.sees(i, j)) {
        const float score = score_of(call, group.head, query, first + i, key, j);
        highest = score > highest || score != score ? score : highest;
      }
    const float base = highest == -__builtin_inff() ? 0.0f : highest;
    for (int k = 0; k < call.value_width; ++k) room[k] = 0.0f;
    for (int j = 0; j < call.keys; ++j)
      if (visible.sees(i, j)) {
        const float weight = power_of_two(score_of(call, group.head, query, first + i, key, j) - base);
        const float kept = keep ? weight * keep->factor_of(i, j) : weight;
        sum += weight;
        for (int k = 0; k < call.value_width; ++k) room[k] += kept * read(value.at(j, k));
      }
    for (int k = 0; k < call.value_width; ++k) write(context.at(first + i, k), sum == 0.0f ? 0.0f : room[k] / sum);
  }
}

// As `backward_group`; `room`: width numbers.
template <typename T>
static void exact_backward(const AttentionBackward& call, const Group& group, float* key_gradient, float* value_gradient,
                           float* weight_gradient, float* room) {
  const Matrix<const T> query(call.query, group.batch, group.head);
  const Matrix<const float> context(call.context, group.batch, group.head);
  const Matrix<const T> key(call.key, group.batch, group.kv_head), value(call.value, group.batch, group.kv_head);
  const Matrix<const T> gradient(call.context_gradient, group.batch, group.head);
  const Matrix<T> query_gradient(call.query_gradient, group.batch, group.head);
  const std::int64_t at = (group.batch * call.heads + group.head) * call.queries;
  for (std::int64_t i = group.first; i < group.first + group.queries; ++i) {
    Visible visible;
    Keep keep;
    visible.read(call.bounds, group.batch, group.head, i, 1, (int)call.keys);
    keep.read(call.dropout, group.batch, group.head, i);
    float shift = call.logsumexp_gradient ? -call.logsumexp_gradient[at + i] : 0.0f;
    for (int k = 0; k < call.value_width; ++k) shift += read(context.at(i, k)) * read(gradient.at(i, k));
    for (int k = 0; k < call.width; ++k) room[k] = 0.0f;
    for (int j = 0; j < call.keys; ++j) {
      if (!visible.sees(0, j)) continue;
      const float weight = power_of_two(score_of(call, group.head, query, i, key, j) - call.logsumexp[at + i] * LOG2_E);
      const float factor = call.dropout.threshold > 0 ? keep.factor_of(0, j) : 1.0f;
      float change = 0.0f;
      for (int k = 0; k < call.value_width; ++k) {
        change += read(gradient.at(i, k)) * read(value.at(j, k));
        value_gradient[j * call.padded_value_width + k] += weight * factor * read(gradient.at(i, k));
      }
      const float score_gradient = weight * (change * factor - shift) * call.scale;
      for (int k = 0; k < call.width; ++k) {
        float of_query = read(key.at(j, k)), of_key = read(query.at(i, k));
        if (call.weight) {
          const float hidden = __builtin_tanhf(of_query + of_key);
          of_query = of_key = call.weight[group.head * call.width + k] * (1.0f - hidden * hidden);
          weight_gradient[k] += score_gradient * hidden;
        }
        room[k] += score_gradient * of_query;
        key_gradient[j * call.padded_width + k] += score_gradient * of_key;
      }
    }
    for (int k = 0; k < call.width; ++k) write(query_gradient.at(i, k), room[k]);
  }
}

}  // namespace regard::REGARD_ISA
