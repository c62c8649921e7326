// Dropout, the residual sum and layer norm: a row is read once and stays in the first cache until it is written.
//
// Features lie in the lanes. The statistics of as many rows as there are lanes are one vector, so that lanes are added up,
// divided and square roots taken for all of these rows at once. Nothing of the mask is kept: going back it is drawn anew.

#include "kernels/residual.h"

#include "kernels/along.h"
#include "kernels/entries.h"
#include "kernels/keep.h"
#include "kernels/workspace.h"
#include "parallel/parallel.h"

namespace regard::REGARD_ISA {
namespace {

constexpr std::int64_t ROWS = 64;         // of a task, where that makes no more than PARTS of them
constexpr std::int64_t PARTS = 128;       // of the sums over rows: as many places, whatever the number of threads
constexpr std::int64_t COLUMNS = 1 << 12; // of a task, where rows need not be whole
constexpr std::int64_t FEW = 1 << 14;     // numbers that are not worth a second thread

static_assert(ROWS % QUERIES == 0 && QUERIES % LANES == 0 && COLUMNS % LANES == 0);

template <typename T>
INLINE inline Floats write_and_read(T* to, Floats x, int count) {
  x = rounded_to(to, x);
  if (count == LANES)
    write_rounded(to, x);
  else
    write_some(to, x, count);
  return x;
}

INLINE inline Floats first_lanes(Floats x, int count) {
  for (int lane = count; lane < LANES; ++lane) x[lane] = 0.0f;
  return x;
}

INLINE inline Words counted_from(std::int64_t column) {
  Words found;
  for (int lane = 0; lane < LANES; ++lane) found[lane] = (std::uint32_t)(column + lane);
  return found;
}

// A row of the sum, of which `query` of the block of `keep` is the number; returns the sums of its lanes.
template <typename T, typename B>
Floats add_row(const ResidualForward& call, const Keep& keep, int query, std::int64_t row, std::int64_t column, std::int64_t last) {
  const std::int64_t at = row * call.width;
  const B* branch = (const B*)call.branch + at;
  const T* inputs = call.inputs ? (const T*)call.inputs + at : nullptr;
  T* to = (T*)call.sum + at;
  Words keys = counted_from(column);
  Floats total{};
  along(column, last, [&](std::int64_t k, int count) INLINE {
    Floats x = read_some(branch + k, count) * keep.factors_of(query, keys);
    if (inputs) x += read_some(inputs + k, count);
    total += write_and_read(to + k, x, count), keys += LANES;
  });
  return total;
}

template <typename T>
Floats squares_of(const T* row, std::int64_t width, float mean) {
  Floats total{}, other{};
  std::int64_t k = 0;
  for (; k + 2 * LANES <= width; k += 2 * LANES) {  // two sums, since each has to wait for the one before
    const Floats x = read_lanes(row + k) - mean, y = read_lanes(row + k + LANES) - mean;
    total += x * x, other += y * y;
  }
  along(k, width, [&](std::int64_t at, int count) INLINE {
    const Floats x = read_some(row + at, count) - mean;
    total += first_lanes(x * x, count);
  });
  return total + other;
}

template <typename T>
void norm_row(const ResidualForward& call, std::int64_t row, float mean, float inverse) {
  const T* from = (const T*)call.sum + row * call.width;
  T* to = (T*)call.normed + row * call.width;
  along(0, call.width, [&](std::int64_t k, int count) INLINE {
    const Floats x = (read_some(from + k, count) - mean) * inverse;
    write_some(to + k, x * read_some(call.gain + k, count) + read_some(call.shift + k, count), count);
  });
}

template <typename T, typename B>
void add_task(const void* given, std::int64_t index, float*) {
  const ResidualForward& call = *static_cast<const ResidualForward*>(given);
  const std::int64_t across = (call.width + COLUMNS - 1) / COLUMNS, first = index / across * ROWS, column = index % across * COLUMNS;
  const std::int64_t rows = least_of(first + ROWS, call.rows), last = least_of(column + COLUMNS, call.width);
  Keep keep{};
  for (std::int64_t row = first; row < rows; ++row) {
    const int query = (int)(row - first) % QUERIES;
    if (query == 0) keep.read(call.dropout, 0, 0, row);
    add_row<T, B>(call, keep, query, row, column, last);
  }
}

// Rows of a task where they are whole: ROWS, or more of so many that there would be more than PARTS.
std::int64_t rows_of_part(std::int64_t rows) { return (rows + PARTS * ROWS - 1) / (PARTS * ROWS) * ROWS; }

template <typename T, typename B>
void norm_task(const void* given, std::int64_t index, float*) {
  const ResidualForward& call = *static_cast<const ResidualForward*>(given);
  const std::int64_t some = rows_of_part(call.rows), first = index * some, last = least_of(first + some, call.rows);
  const float share = 1.0f / (float)call.width;
  Keep keep{};
  for (std::int64_t row = first; row < last; row += LANES) {
    const int query = (int)(row - first) % QUERIES, rows = (int)least_of(LANES, last - row);
    if (query == 0) keep.read(call.dropout, 0, 0, row);
    Floats sums[LANES]{};
    for (int i = 0; i < rows; ++i) sums[i] = add_row<T, B>(call, keep, query + i, row + i, 0, call.width);
    const Floats mean = sums_of([&](int i) { return sums[i]; }) * share;
    for (int i = 0; i < rows; ++i) sums[i] = squares_of((const T*)call.sum + (row + i) * call.width, call.width, mean[i]);
    const Floats inverse = 1.0f / square_root(sums_of([&](int i) { return sums[i]; }) * share + call.eps);
    write_some(call.mean + row, mean, rows), write_some(call.inverse + row, inverse, rows);
    for (int i = 0; i < rows; ++i) norm_row<T>(call, row + i, mean[i], inverse[i]);
  }
}

// What a backward pass has beside its call: a place for each part's gradients of gain and shift.
struct Going {
  const ResidualBackward& call;
  float* parts;  // (parts, 2, width)
};

// Adds a row's gradients of gain and shift; the sums of the gradient of the row without scale and mean, and of what it
// is times the row, by lanes.
template <typename T>
void weigh_row(const ResidualBackward& call, std::int64_t row, float* of_gain, float* of_shift, Floats& sum, Floats& product) {
  const T *from = (const T*)call.sum + row * call.width, *gradient = (const T*)call.normed_gradient + row * call.width;
  const float mean = call.mean[row], inverse = call.inverse[row];
  Floats total{}, products{};
  along(0, call.width, [&](std::int64_t k, int count) INLINE {
    const Floats g = read_some(gradient + k, count), x = (read_some(from + k, count) - mean) * inverse;
    const Floats scaled = g * read_some(call.gain + k, count);
    total += scaled, products += first_lanes(scaled * x, count);
    write_some(of_gain + k, read_some(of_gain + k, count) + g * x, count);
    write_some(of_shift + k, read_some(of_shift + k, count) + g, count);
  });
  sum = total, product = products;
}

template <typename T, typename B>
void derive_row(const ResidualBackward& call, const Keep& keep, int query, std::int64_t row, float sum, float product) {
  const std::int64_t at = row * call.width;
  const T *from = (const T*)call.sum + at, *gradient = (const T*)call.normed_gradient + at;
  const T* other = call.sum_gradient ? (const T*)call.sum_gradient + at : nullptr;
  T* inputs = call.inputs_gradient ? (T*)call.inputs_gradient + at : nullptr;
  B* branch = call.branch_gradient ? (B*)call.branch_gradient + at : nullptr;
  const float mean = call.mean[row], inverse = call.inverse[row];
  Words keys = counted_from(0);
  along(0, call.width, [&](std::int64_t k, int count) INLINE {
    const Floats x = (read_some(from + k, count) - mean) * inverse;
    Floats found = (read_some(gradient + k, count) * read_some(call.gain + k, count) - sum - x * product) * inverse;
    if (other) found += read_some(other + k, count);
    if (inputs) write_some(inputs + k, found, count);
    if (branch) write_some(branch + k, found * keep.factors_of(query, keys), count);
    keys += LANES;
  });
}

template <typename T, typename B>
void gradient_task(const void* given, std::int64_t index, float*) {
  const Going& going = *static_cast<const Going*>(given);
  const ResidualBackward& call = going.call;
  const std::int64_t some = rows_of_part(call.rows), first = index * some, last = least_of(first + some, call.rows);
  const float share = 1.0f / (float)call.width;
  float *of_gain = going.parts + index * 2 * call.width, *of_shift = of_gain + call.width;
  for (std::int64_t k = 0; k < 2 * call.width; ++k) of_gain[k] = 0.0f;
  Keep keep{};
  for (std::int64_t row = first; row < last; row += LANES) {
    const int query = (int)(row - first) % QUERIES, rows = (int)least_of(LANES, last - row);
    if (query == 0) keep.read(call.dropout, 0, 0, row);
    Floats sums[LANES]{}, products[LANES]{};
    for (int i = 0; i < rows; ++i) weigh_row<T>(call, row + i, of_gain, of_shift, sums[i], products[i]);
    const Floats sum = sums_of([&](int i) { return sums[i]; }) * share, product = sums_of([&](int i) { return products[i]; }) * share;
    for (int i = 0; i < rows; ++i) derive_row<T, B>(call, keep, query + i, row + i, sum[i], product[i]);
  }
}

int threads_of(const Residual& call) { return call.rows * call.width < FEW ? 1 : call.threads; }

std::int64_t parts_of(const Residual& call) {
  const std::int64_t some = rows_of_part(call.rows);
  return call.rows == 0 ? 0 : (call.rows + some - 1) / some;
}

template <typename T, typename B>
Status add(const ResidualForward& call) {
  const int threads = threads_of(call);
  if (call.gain) return run_parallel(threads, parts_of(call), 1, norm_task<T, B>, &call);
  const std::int64_t tasks = (call.rows + ROWS - 1) / ROWS * ((call.width + COLUMNS - 1) / COLUMNS);
  return run_parallel(threads, tasks, 1, add_task<T, B>, &call);
}

template <typename T, typename B>
Status derive(const ResidualBackward& call) {
  const std::int64_t count = parts_of(call), width = call.width;
  Workspace space(2 * count * width);
  if (!space) return Status::no_memory;
  float* const parts = space.take(2 * count * width);
  const Going going{call, parts};
  const Status status = run_parallel(threads_of(call), count, 1, gradient_task<T, B>, &going);
  if (status != Status::done) return status;
  for (std::int64_t k = 0; k < width; ++k) call.gain_gradient[k] = call.shift_gradient[k] = 0.0f;
  for (std::int64_t part = 0; part < count; ++part) {
    const float *of_gain = parts + part * 2 * width, *of_shift = of_gain + width;
    for (std::int64_t k = 0; k < width; ++k) call.gain_gradient[k] += of_gain[k];
    for (std::int64_t k = 0; k < width; ++k) call.shift_gradient[k] += of_shift[k];
  }
  return Status::done;
}

}  // namespace

Status residual(const ResidualForward& call) noexcept {
  if (call.type == Type::float32) return call.branch_type == Type::float32 ? add<float, float>(call) : add<float, Half>(call);
  return call.branch_type == Type::float32 ? add<Half, float>(call) : add<Half, Half>(call);
}

Status residual_backward(const ResidualBackward& call) noexcept {
  if (call.type == Type::float32) return call.branch_type == Type::float32 ? derive<float, float>(call) : derive<float, Half>(call);
  return call.branch_type == Type::float32 ? derive<Half, float>(call) : derive<Half, Half>(call);
}

}  // namespace regard::REGARD_ISA
