// The step of a decoder: projections, and between them attention of one query a row and head to few keys.
//
// Keys are scored a vector of them at a time, whose products are added up over the lanes together. What a beam moves is its
// table: keys and values are read from where they were written.

#include "kernels/steps.h"

#include "kernels/along.h"
#include "kernels/bounds.h"
#include "kernels/block.h"
#include "kernels/entries.h"
#include "kernels/norm.h"
#include "kernels/workspace.h"
#include "parallel/parallel.h"

namespace regard::REGARD_ISA {
namespace {

constexpr std::int64_t FEW = 1 << 14;  // numbers read that are not worth a second thread

// Attention of rows: where queries are and contexts go, and where the keys of a row are.
struct Attending {
  Heads heads;
  const float* queries;       // (rows, query_row)
  float* contexts;            // (rows, heads * width)
  std::int64_t query_row, key_row;
  const float* keys;          // key j of a row is at keys + place(j) * key_row, its value kv_heads * width further
  // Of what was said, place(j) is table[row][j]; of a memory, sentence[row] * places + j.
  const std::int32_t* table;
  std::int64_t table_row, steps;
  const std::int32_t* sentence;
  const std::int64_t* lengths;
  std::int64_t places;
};

// `room`: one number for each key, up to whole vectors.
void attend_task(const void* given, std::int64_t row, float* room) {
  const Attending& call = *static_cast<const Attending*>(given);
  const std::int64_t width = call.heads.width, shared = call.heads.heads / call.heads.kv_heads, values = call.heads.kv_heads * width;
  const std::int64_t sentence = call.table ? 0 : call.sentence[row], count = call.table ? call.steps : call.lengths[sentence];
  const std::int32_t* table = call.table ? call.table + row * call.table_row : nullptr;
  const auto key = [&](std::int64_t j) INLINE {
    const std::int64_t place = table ? table[j] : sentence * call.places + j;
    return call.keys + place * call.key_row;
  };
  for (std::int64_t head = 0; head < call.heads.heads; ++head) {
    const std::int64_t at = head / shared * width;
    const float* query = call.queries + row * call.query_row + head * width;
    Floats highest = broadcast(-__builtin_inff());
    for (std::int64_t j = 0; j < count; j += LANES) {
      const float* rows[LANES];
      for (int lane = 0; lane < LANES; ++lane) rows[lane] = key(least_of(j + lane, count - 1)) + at;
      Floats products[LANES]{};
      along(0, width, [&](std::int64_t k, int some) INLINE {
        const Floats numbers = read_some(query + k, some);  // zeros beyond its end
        for (int lane = 0; lane < LANES; ++lane) products[lane] = multiply_add(products[lane], numbers, read_some(rows[lane] + k, some));
      });
      Floats scores = sums_of([&](int lane) { return products[lane]; }) * (call.heads.scale * LOG2_E);
      for (int lane = (int)least_of(LANES, count - j); lane < LANES; ++lane) scores[lane] = -__builtin_inff();
      highest = larger(scores, highest);
      store(room + j, scores);
    }
    float top = highest[0];  // a NaN is nobody's top, and reaches the weights all the same
    for (int lane = 1; lane < LANES; ++lane) top = top > highest[lane] ? top : highest[lane];
    Floats sums{};
    for (std::int64_t j = 0; j < count; j += LANES) {
      const Floats weights = exp2(load(room + j) - top);
      sums += weights;
      store(room + j, weights);
    }
    const float total = sum_of_lanes(sums);
    float* context = call.contexts + (row * call.heads.heads + head) * width;
    const float share = total == 0.0f ? 0.0f : 1.0f / total;
    along(0, width, [&](std::int64_t k, int some) INLINE {
      Floats sum{};
      for (std::int64_t j = 0; j < count; ++j) sum = multiply_add(sum, broadcast(room[j]), read_some(key(j) + values + at + k, some));
      write_some(context + k, sum * share, some);
    });
  }
}

Status attend(const Attending& call, std::int64_t rows, std::int64_t keys, int threads) {
  const std::int64_t numbers = rows * keys * call.heads.heads * call.heads.width;
  return run_parallel(numbers < FEW ? 1 : threads, rows, (std::size_t)rounded(keys), attend_task, &call);
}

// Feature f of queries and keys is turned with the one half a width further.
void turn_rows(float* rows, std::int64_t count, std::int64_t row, std::int64_t heads, std::int64_t width, const float* turn) {
  const std::int64_t half = width / 2;
  for (std::int64_t i = 0; i < count; ++i)
    for (std::int64_t head = 0; head < heads; ++head) {
      float* features = rows + i * row + head * width;
      for (std::int64_t k = 0; k < half; ++k) {
        const float x = features[k], y = features[k + half];
        features[k] = x * turn[k] - y * turn[half + k], features[k + half] = y * turn[k] + x * turn[half + k];
      }
    }
}

// Rows normed to `to`, which may be where they are; or as they are, where there is no norm.
const float* normed(const Norm& norm, const float* rows, std::int64_t count, std::int64_t width, float* to) {
  if (!norm.gain) return rows;
  for (std::int64_t i = 0; i < count; ++i) norm_row(rows + i * width, to + i * width, width, norm.gain, norm.shift, norm.eps);
  return to;
}

// The error function, to 1.5e-7 (Abramowitz and Stegun 7.1.26).
Floats erf(Floats x) {
  const Floats size = select(x < 0.0f, -x, x), t = 1.0f / (1.0f + 0.3275911f * size);
  Floats series = broadcast(1.061405429f);
  series = series * t - 1.453152027f;
  series = series * t + 1.421413741f;
  series = series * t - 0.284496736f;
  series = series * t + 0.254829592f;
  const Floats found = 1.0f - series * t * exp2(-size * size * LOG2_E);
  return select(x < 0.0f, -found, found);
}

void activate(float* numbers, std::int64_t count, Activation activation) {
  along(0, count, [&](std::int64_t k, int some) INLINE {
    const Floats x = read_some(numbers + k, some);
    const Floats y = activation == Activation::gelu ? 0.5f * x * (1.0f + erf(x * 0.7071067811865476f)) : x / (1.0f + exp2(-x * LOG2_E));
    write_some(numbers + k, y, some);
  });
}

// The calls of a step, until one fails.
struct Running {
  const Step& step;
  Status status = Status::done;

  void project(const Linear& linear, const float* inputs, const float* added, float* outputs, bool relu = false) {
    if (status != Status::done) return;
    Projection call{};
    call.rows = step.rows, call.depth = linear.depth, call.columns = linear.columns, call.inputs = inputs;
    call.packed = linear.packed, call.bias = linear.bias, call.relu = relu, call.added = added, call.outputs = outputs;
    call.threads = step.threads;
    status = projection(call);
  }

  void run(const Attending& call, std::int64_t keys) {
    if (status == Status::done) status = attend(call, step.rows, keys, step.threads);
  }
};

std::int64_t largest(std::int64_t x, std::int64_t y) { return x < y ? y : x; }


}  // namespace

Status decoder_step(const Step& step) noexcept {
  const Decoder& decoder = *step.decoder;
  std::int64_t widest = 0, inner = 0;
  for (std::int64_t b = 0; b < decoder.blocks; ++b) {
    const DecoderBlock& block = decoder.block[b];
    widest = largest(widest, largest(block.write.depth, block.answer.depth)), inner = largest(inner, block.inner.columns);
  }
  const std::int64_t rows = step.rows, dim = decoder.dim;
  Workspace space(rows * (2 * widest + inner + dim));
  if (!space) return Status::no_memory;
  float *asked = space.take(rows * widest), *context = space.take(rows * widest), *between = space.take(rows * inner);
  float *hidden = step.hidden, *room = space.take(rows * dim);
  Running running{step};
  for (std::int64_t b = 0; b < decoder.blocks; ++b) {
    const DecoderBlock& block = decoder.block[b];
    const std::int64_t row = block.read.columns, queries = block.own.heads * block.own.width;
    float* said = block.said + step.first * row;
    running.project(block.read, normed(block.before[0], hidden, rows, dim, room), nullptr, said);
    if (step.turn) turn_rows(said, rows, row, block.own.heads + block.own.kv_heads, block.own.width, step.turn);
    running.run({block.own, said, context, row, row, block.said + queries, step.table, step.table_row, step.steps, nullptr, nullptr, 0},
                step.steps);
    running.project(block.write, context, hidden, hidden);
    normed(block.after[0], hidden, rows, dim, hidden);

    running.project(block.ask, normed(block.before[1], hidden, rows, dim, room), nullptr, asked);
    running.run({block.cross, asked, context, block.ask.columns, 2 * block.cross.kv_heads * block.cross.width, block.memory, nullptr, 0, 0,
                 step.sentence, decoder.lengths, decoder.places},
                decoder.places);
    running.project(block.answer, context, hidden, hidden);
    normed(block.after[1], hidden, rows, dim, hidden);

    running.project(block.inner, normed(block.before[2], hidden, rows, dim, room), nullptr, between, block.activation == Activation::relu);
    if (block.activation != Activation::relu) activate(between, rows * block.inner.columns, block.activation);
    running.project(block.outer, between, hidden, hidden);
    normed(block.after[2], hidden, rows, dim, hidden);
  }
  running.project(decoder.logits, normed(decoder.norm, hidden, rows, dim, room), nullptr, step.logits);
  return running.status;
}

}  // namespace regard::REGARD_ISA
