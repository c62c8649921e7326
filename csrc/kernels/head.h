// A head whose queries and keys are few enough to be computed as a whole: a softmax that is done when its scores are, products
// that read rows where they lie and write where they stay. What is packed is turned: queries, and the gradients of contexts.
#pragma once

#include "kernels/products.h"
#include "kernels/segments.h"

namespace regard::REGARD_ISA {

// Whether vectors can read the rows of a call.
static inline bool in_vectors(const Attention& call) {
  return in_vectors(call.query, call.width) && in_vectors(call.key, call.width) && in_vectors(call.value, call.value_width);
}

// Whether a call is computed head by head.
static inline bool is_whole(const Attention& call) {
  return call.type == Type::float32 && !call.rows && !call.weight && call.queries <= MOST_QUERIES && call.keys <= KEYS &&
         call.queries > 0 && call.keys > 0 && in_vectors(call);
}

struct Head {
  const Attention& call;
  const std::int64_t batch, head, kv_head;
  const Segment segment;  // of the head; all of it
  const int queries, keys, lanes, width, value_width;
  const Matrix<const float> query, key, value;
  Visible visible[MOST_QUERIES / QUERIES];
  Range runs[MOST_QUERIES / QUERIES];  // of keys that a block of queries may see
  Keep keep[MOST_QUERIES / QUERIES];

  Head(const Attention& call_, std::int64_t batch_, std::int64_t head_)
      : Head(call_, batch_, head_, {0, 0, (int)call_.queries, (int)call_.keys}) {}
  Head(const Attention& call_, std::int64_t batch_, std::int64_t head_, const Segment& segment_)
      : call(call_), batch(batch_), head(head_), kv_head(head_ / (call_.heads / call_.kv_heads)), segment(segment_),
        queries(segment.queries), keys(segment.keys), lanes(rounded(queries)), width((int)call.width), value_width((int)call.value_width),
        query(Matrix<const float>(call.query, batch, head).from(segment.first)),
        key(Matrix<const float>(call.key, batch, kv_head).from(segment.low)),
        value(Matrix<const float>(call.value, batch, kv_head).from(segment.low)) {
    for (int first = 0; first < queries; first += QUERIES) {
      const int block = first / QUERIES, some = least(QUERIES, queries - first);
      visible[block].read(call.bounds, batch, head, segment.first + first, some, keys, segment.low);
      runs[block] = visible[block].within(0, keys, 1);
      if (runs[block].empty()) runs[block] = {0, 0};
      if (call.dropout.threshold > 0) keep[block].read(call.dropout, batch, head, segment.first + first);
    }
  }
  std::int64_t place() const { return (batch * call.heads + head) * call.queries + segment.first; }
  static std::int64_t room(const Attention& call) { return (2 * KEYS + call.width + call.value_width) * MOST_QUERIES; }

  // Of each block of queries, with its lanes and the keys that it may see.
  template <typename Use>
  void each_block(const Use& use) const {
    for (int first = 0; first < lanes; first += QUERIES) use(first, least(QUERIES, lanes - first), runs[first / QUERIES]);
  }

  // (keys, lanes): rows times turned columns, of the keys that a block may see.
  void products(const Matrix<const float>& rows, const float* columns, int depth, float* to) const {
    each_block([&](int first, int some, Range run) {
      product<false>(Left<float>{rows.at(run.first), rows.row, 1}, columns + first, lanes, run.last - run.first, some, depth,
                     to + run.first * lanes + first, lanes);
    });
  }
  // Times log2(e): -inf where a query may not look.
  void scores(float* packed, float* to) const {
    pack_columns(query, 0, queries, width, call.scale * LOG2_E, packed, lanes);
    products(key, packed, width, to);
    each_block([&](int first, int some, Range run) {
      const Visible& sees = visible[first / QUERIES];
      if (sees.whole(run)) return;
      for (int j = run.first; j < run.last; ++j)
        for (int lane = 0; lane < some; lane += LANES) {
          float* at = to + j * lanes + first + lane;
          store(at, select(sees.see(lane, j), load(at), broadcast(-__builtin_inff())));
        }
    });
  }
  Floats factor(int lane, int key_number) const { return keep[lane / QUERIES].factor(lane % QUERIES, (int)segment.low + key_number); }
};

// False where a context is no finite number.
static bool head_forward(const AttentionForward& call, const Head& head, float* room) {
  const int keys = head.keys, lanes = head.lanes;
  float *scores = room, *packed = room + keys * lanes;
  head.scores(packed, scores);
  const Matrix<float> context = Matrix<float>(call.context, head.batch, head.head).from(head.segment.first);
  float logsumexp[MOST_QUERIES];
  head.each_block([&](int first, int some, Range run) {
    for (int lane = first; lane < first + some; lane += LANES) {
      Floats highest = broadcast(-__builtin_inff()), sum{};
      for (int j = run.first; j < run.last; ++j) highest = larger(load(scores + j * lanes + lane), highest);
      const Floats base = select(highest == -__builtin_inff(), Floats{}, highest);
      for (int j = run.first; j < run.last; ++j) {
        const Floats weight = exp2(load(scores + j * lanes + lane) - base);
        sum += weight;
        store(scores + j * lanes + lane, weight);
      }
      store(logsumexp + lane, (highest + log2(sum)) * LN_2);
      const Floats share = select(sum == 0.0f, Floats{}, 1.0f / sum);
      for (int j = run.first; j < run.last; ++j) {
        Floats weight = load(scores + j * lanes + lane) * share;
        if (call.dropout.threshold > 0) weight *= head.factor(lane, j);
        store(scores + j * lanes + lane, weight);
      }
    }
    product<false>(Left<float>{scores + run.first * lanes + first, 1, lanes}, head.value.at(run.first), head.value.row,
                   least(some, head.queries - first), head.value_width, run.last - run.first, context.at(first), context.row);
  });
  for (int i = 0; call.logsumexp && i < head.queries; ++i)
    call.logsumexp[head.place() + i] = head.visible[i / QUERIES].nothing(i % QUERIES) ? -__builtin_inff() : logsumexp[i];
  return finite(Matrix<const float>(call.context, head.batch, head.head), head.segment.first, head.segment.first + head.queries,
                head.value_width);
}

// Gradients of keys and values are added to those of heads before (ADD), or written. Inputs are finite.
template <bool ADD>
static void head_backward(const AttentionBackward& call, const Head& head, Sums key_gradient, Sums value_gradient, float* room) {
  const int keys = head.keys, lanes = head.lanes;
  float *scores = room, *changes = scores + keys * lanes, *packed = changes + keys * lanes, *columns = packed + head.width * lanes;
  const Matrix<const float> gradient = Matrix<const float>(call.context_gradient, head.batch, head.head).from(head.segment.first);
  const Matrix<float> query_gradient = Matrix<float>(call.query_gradient, head.batch, head.head).from(head.segment.first);
  head.scores(packed, scores);
  pack_columns(gradient, 0, head.queries, head.value_width, 1.0f, columns, lanes);
  head.products(head.value, columns, head.value_width, changes);
  head.each_block([&](int first, int some, Range run) {
    for (int lane = first; lane < first + some; lane += LANES) {
      Floats logsumexp = broadcast(__builtin_inff()), shift{};  // beyond the queries no weights
      for (int l = 0; l < LANES && lane + l < head.queries; ++l) {
        const float found = call.logsumexp[head.place() + lane + l];
        logsumexp[l] = found == -__builtin_inff() ? __builtin_inff() : found * LOG2_E;
        if (call.logsumexp_gradient) shift[l] = -call.logsumexp_gradient[head.place() + lane + l];
      }
      for (int j = run.first; j < run.last; ++j) {
        float *score = scores + j * lanes + lane, *change = changes + j * lanes + lane;
        const Floats weight = exp2(load(score) - logsumexp);
        Floats of_weight = load(change);
        if (call.dropout.threshold > 0) of_weight *= head.factor(lane, j);
        shift += weight * of_weight;
        store(score, weight), store(change, of_weight);
      }
      for (int j = 0; j < keys; ++j) {
        float *score = scores + j * lanes + lane, *change = changes + j * lanes + lane;
        const bool in = run.first <= j && j < run.last;
        const Floats weight = in ? load(score) : Floats{};
        store(change, in ? weight * (load(change) - shift) * call.scale : Floats{});
        store(score, call.dropout.threshold > 0 ? weight * head.factor(lane, j) : weight);
      }
    }
    product<false>(Left<float>{changes + run.first * lanes + first, 1, lanes}, head.key.at(run.first), head.key.row,
                   least(some, head.queries - first), head.width, run.last - run.first, query_gradient.at(first), query_gradient.row);
  });
  product<ADD>(Left<float>{scores, lanes, 1}, gradient.data, gradient.row, keys, head.value_width, head.queries,
               value_gradient.data, value_gradient.row);
  product<ADD>(Left<float>{changes, lanes, 1}, head.query.data, head.query.row, keys, head.width, head.queries, key_gradient.data,
               key_gradient.row);
}

}  // namespace regard::REGARD_ISA
