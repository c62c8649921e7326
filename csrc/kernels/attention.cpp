// Attention, forward and backward: which kernel a call is for, and its tasks.

#include "kernels/attention.h"


#include "kernels/backward.h"
#include "kernels/decode.h"
#include "kernels/entries.h"
#include "kernels/forward.h"
#include "kernels/head.h"
#include "kernels/rows_backward.h"
#include "parallel/parallel.h"

namespace regard::REGARD_ISA {
namespace {

struct Forward {
  const AttentionForward& call;
  int queries;  // of a group
  std::int64_t groups;
};

// Of a head's queries as many as `most`, from `first` on.
Group group_of(const Attention& call, std::int64_t batch, std::int64_t head, std::int64_t first, std::int64_t most) {
  const std::int64_t left = call.queries - first;
  return {batch, head, head / (call.heads / call.kv_heads), first, (int)(left < most ? left : most)};
}

typedef void ForwardGroup(const AttentionForward&, const Group&, float*);

template <ForwardGroup GROUP>
void forward_task(const void* given, std::int64_t index, float* room) {
  const Forward& task = *static_cast<const Forward*>(given);
  const AttentionForward& call = task.call;
  const std::int64_t head = index / task.groups;
  // The last queries come first: under a causal mask they have the most to do.
  const std::int64_t first = (task.groups - 1 - index % task.groups) * task.queries;
  GROUP(call, group_of(call, head / call.heads, head % call.heads, first, task.queries), room);
}

// Every parts-th group of a head, in order: what is added up over queries has a place for each part.
template <typename Score>
void rows_forward_task(const void* given, std::int64_t index, float* room) {
  const Forward& task = *static_cast<const Forward*>(given);
  const AttentionForward& call = task.call;
  const std::int64_t head = index / call.rows->parts, part = index % call.rows->parts;
  for (std::int64_t g = part; g < task.groups; g += call.rows->parts)
    rows_forward<Score>(call, group_of(call, head / call.heads, head % call.heads, g * task.queries, task.queries), (int)part, room);
}

typedef Products<float> Singles;
typedef Products<Half> Halves;

void head_forward_task(const void* given, std::int64_t index, float* room) {
  const AttentionForward& call = *static_cast<const AttentionForward*>(given);
  const std::int64_t batch = index / call.heads, head = index % call.heads;
  if (head_forward(call, Head(call, batch, head), room)) return;
  for (int i = 0; i < call.queries; ++i) forward_group<float, Singles>(call, group_of(call, batch, head, i, 1), room);
}

// What a call of segments is to its tasks: some segments of a head.
template <typename Call>
struct Documents {
  const Call& call;
  const Segments& segments;
  static constexpr int SOME = 8;

  std::int64_t tasks() const { return (segments.count + SOME - 1) / SOME; }
  const Segment* first(std::int64_t task) const { return segments.begin() + task * SOME; }
  const Segment* last(std::int64_t task) const { return segments.begin() + least((int)(task + 1) * SOME, segments.count); }
};

void documents_forward_task(const void* given, std::int64_t index, float* room) {
  const auto& task = *static_cast<const Documents<AttentionForward>*>(given);
  const AttentionForward& call = task.call;
  const std::int64_t head = index / task.tasks(), some = index % task.tasks();
  for (const Segment* one = task.first(some); one != task.last(some); ++one) {
    if (head_forward(call, Head(call, 0, head, *one), room)) continue;
    for (int i = 0; i < one->queries; ++i) forward_group<float, Singles>(call, group_of(call, 0, head, one->first + i, 1), room);
  }
}

std::int64_t head_room(const Attention& call, std::int64_t least_room) {
  const std::int64_t room = Head::room(call);
  return room > least_room ? room : least_room;
}

Status rows_forward(const AttentionForward& call) noexcept {
  const int queries = queries_of_a_group(call, call.width + call.value_width + call.keys);
  const Forward task{call, queries, (call.queries + queries - 1) / queries};
  const auto run = [&](Task each, std::int64_t room) {
    return run_parallel(call.threads, call.batch * call.heads * call.rows->parts, (std::size_t)room, each, &task);
  };
  return call.weight ? run(rows_forward_task<Additive>, rows_forward_room<Additive>(call, queries))
                     : run(rows_forward_task<Singles>, rows_forward_room<Singles>(call, queries));
}

}  // namespace

Status forward(const AttentionForward& call) noexcept {
  if (decodes(call)) return decode(call);
  if (call.rows) return rows_forward(call);
  if (is_whole(call))
    return run_parallel(call.threads, call.batch * call.heads, (std::size_t)head_room(call, forward_room<Singles>(call, QUERIES)),
                        head_forward_task, &call);
  const Segments segments(call);
  if (segments.count && in_vectors(call)) {
    const Documents<AttentionForward> documents{call, segments};
    return run_parallel(call.threads, call.heads * documents.tasks(), (std::size_t)head_room(call, forward_room<Singles>(call, QUERIES)),
                        documents_forward_task, &documents);
  }
  const int queries = queries_of_a_group(call, call.width + call.value_width);
  const Forward task{call, queries, (call.queries + queries - 1) / queries};
  const std::int64_t tasks = call.batch * call.heads * task.groups;
  const auto run = [&](Task each, std::int64_t room) { return run_parallel(call.threads, tasks, (std::size_t)room, each, &task); };
  if (call.weight) return run(forward_task<forward_any<float, Additive>>, forward_room<Additive>(call, queries));
  if (call.type == Type::float32) return run(forward_task<forward_any<float, Singles>>, forward_room<Singles>(call, queries));
  return run(forward_task<forward_any<Half, Halves>>, forward_room<Halves>(call, queries));
}

// As many parts as give every thread some: each part adds up gradients of keys and values in a place of its own, in an
// order that does not depend on which thread has it.
BackwardPlan plan(const Attention& call) noexcept {
  if (Segments(call).count) return {1, rounded(call.width), rounded(call.value_width)};
  const std::int64_t wanted = call.threads == 1 ? 1 : 4 * call.threads, heads = call.batch * call.kv_heads;
  const std::int64_t groups = call.heads / call.kv_heads * ((call.queries + QUERIES - 1) / QUERIES);
  std::int64_t parts = heads > 0 ? (wanted + heads - 1) / heads : 1;
  if (parts > groups) parts = groups;
  if (parts > call.threads) parts = call.threads;
  return {parts < 1 ? 1 : (int)parts, rounded(call.width), rounded(call.value_width)};
}

namespace {

struct Backward {
  const AttentionBackward& call;
  int queries;  // of a group
  std::int64_t groups;
};

template <typename T>
bool all_finite(const AttentionBackward& call, const Group& group) {
  const Reached reached(call, group);
  const int width = (int)call.width, value_width = (int)call.value_width;
  bool found = finite(Matrix<const T>(call.query, group.batch, group.head), group.first, group.first + group.queries, width);
  found = found && finite(Matrix<const T>(call.context_gradient, group.batch, group.head), group.first,
                          group.first + group.queries, value_width);
  for (int r = 0; r < reached.count && found; ++r) {
    const Range range = reached.ranges[r];
    found = finite(Matrix<const T>(call.key, group.batch, group.kv_head), range.first, range.last, width) &&
            finite(Matrix<const T>(call.value, group.batch, group.kv_head), range.first, range.last, value_width);
  }
  return found;
}

std::int64_t weight_place(const AttentionBackward& call, std::int64_t batch, std::int64_t head, std::int64_t part) {
  return ((batch * call.heads + head) * call.parts + part) * call.width;
}

// A group at once; and where something is not finite a query at a time, as in the forward pass.
template <typename T, typename Score>
void backward_any(const AttentionBackward& call, const Group& group, int, Sums key_gradient, Sums value_gradient,
                  float* weight_gradient, float* room) {
  if (all_finite<T>(call, group)) return backward_group<T, Score>(call, group, key_gradient, value_gradient, weight_gradient, room);
  for (int i = 0; i < group.queries; ++i)
    backward_group<T, Score>(call, group.query(i), key_gradient, value_gradient, weight_gradient, room);
}
template <typename Score>
void rows_backward_any(const AttentionBackward& call, const Group& group, int part, Sums key_gradient, Sums value_gradient,
                       float* weight_gradient, float* room) {
  if (all_finite<float>(call, group))
    return rows_backward_group<Score>(call, group, part, false, key_gradient, value_gradient, weight_gradient, room);
  for (int i = 0; i < group.queries; ++i)
    rows_backward_group<Score>(call, group.query(i), part, true, key_gradient, value_gradient, weight_gradient, room);
}

typedef void BackwardGroup(const AttentionBackward&, const Group&, int part, Sums, Sums, float*, float*);

// A part of the gradients of a key head of a batch row. Every parts-th group, so that each part has early and late queries;
// of all heads the same, where they share the gradient of a term.
template <BackwardGroup GROUP>
void backward_part(const Backward& task, std::int64_t batch, std::int64_t kv_head, std::int64_t part, float* room) {
  const AttentionBackward& call = task.call;
  const std::int64_t shared = call.heads / call.kv_heads;
  const Sums key_gradient(call.key_gradient, batch, kv_head, part), value_gradient(call.value_gradient, batch, kv_head, part);
  key_gradient.clear(call.keys, call.padded_width), value_gradient.clear(call.keys, call.padded_value_width);
  for (std::int64_t k = 0; call.weight && k < shared * call.width; ++k)
    call.weight_gradient[weight_place(call, batch, kv_head * shared + k / call.width, part) + k % call.width] = 0.0f;
  const bool by_head = !call.rows || call.rows->by_head;
  for (std::int64_t item = 0; item < shared * task.groups; ++item) {
    if ((by_head ? item : item % task.groups) % call.parts != part) continue;
    const Group group = group_of(call, batch, kv_head * shared + item / task.groups, item % task.groups * task.queries, task.queries);
    float* weight_gradient = call.weight ? call.weight_gradient + weight_place(call, batch, group.head, part) : nullptr;
    GROUP(call, group, (int)part, key_gradient, value_gradient, weight_gradient, room);
  }
}

// Batch rows or heads that share the gradient of a term are one task, so that nothing is added to it from two threads.
template <BackwardGroup GROUP>
void backward_task(const void* given, std::int64_t index, float* room) {
  const Backward& task = *static_cast<const Backward*>(given);
  const AttentionBackward& call = task.call;
  const bool by_batch = !call.rows || call.rows->by_batch, by_head = !call.rows || call.rows->by_head;
  const std::int64_t part = index % call.parts, unit = index / call.parts;
  const std::int64_t kv = by_head ? unit % call.kv_heads : -1, row = by_batch ? (by_head ? unit / call.kv_heads : unit) : -1;
  for (std::int64_t batch = by_batch ? row : 0; batch <= (by_batch ? row : call.batch - 1); ++batch)
    for (std::int64_t kv_head = by_head ? kv : 0; kv_head <= (by_head ? kv : call.kv_heads - 1); ++kv_head)
      backward_part<GROUP>(task, batch, kv_head, part, room);
}

// The heads that share a key head, or a segment of them.
void heads_backward(const AttentionBackward& call, std::int64_t kv, const Segment& segment, float* room) {
  const std::int64_t shared = call.heads / call.kv_heads, batch = kv / call.kv_heads;
  const Sums key_gradient(call.key_gradient, batch, kv % call.kv_heads, 0), value_gradient(call.value_gradient, batch, kv % call.kv_heads, 0);
  const Sums of_keys = key_gradient.from(segment.low), of_values = value_gradient.from(segment.low);
  for (std::int64_t n = 0; n < shared; ++n) {
    const std::int64_t head = kv % call.kv_heads * shared + n;
    const Group group = group_of(call, batch, head, segment.first, segment.queries);
    if (all_finite<float>(call, group)) {
      (n == 0 ? head_backward<false> : head_backward<true>)(call, Head(call, batch, head, segment), of_keys, of_values, room);
      continue;
    }
    if (n == 0) of_keys.clear(segment.keys, call.width), of_values.clear(segment.keys, call.value_width);
    for (int i = 0; i < group.queries; ++i)
      backward_group<float, Singles>(call, group.query(i), key_gradient, value_gradient, nullptr, room);
  }
}

void head_backward_task(const void* given, std::int64_t kv, float* room) {
  const AttentionBackward& call = *static_cast<const AttentionBackward*>(given);
  heads_backward(call, kv, {0, 0, (int)call.queries, (int)call.keys}, room);
}

void documents_backward_task(const void* given, std::int64_t index, float* room) {
  const auto& task = *static_cast<const Documents<AttentionBackward>*>(given);
  const std::int64_t kv = index / task.tasks(), some = index % task.tasks();
  for (const Segment* one = task.first(some); one != task.last(some); ++one) heads_backward(task.call, kv, *one, room);
}

}  // namespace

Status backward(const AttentionBackward& call) noexcept {
  if (call.parts == 1 && in_vectors(call) && in_vectors(call.context_gradient, call.value_width) && in_vectors(call.query_gradient, call.width)) {
    const std::size_t room = (std::size_t)head_room(call, backward_room<Singles>(call, QUERIES));
    if (is_whole(call)) return run_parallel(call.threads, call.batch * call.kv_heads, room, head_backward_task, &call);
    const Segments segments(call);
    const Documents<AttentionBackward> documents{call, segments};
    for (std::int64_t kv = 0; kv < call.kv_heads && segments.count && !segments.covers; ++kv) {
      Sums(call.key_gradient, 0, kv, 0).clear(call.keys, call.width);
      Sums(call.value_gradient, 0, kv, 0).clear(call.keys, call.value_width);
    }
    if (segments.count)
      return run_parallel(call.threads, call.kv_heads * documents.tasks(), room, documents_backward_task, &documents);
  }
  std::int64_t numbers = backward_numbers(call);
  if (call.rows) numbers += call.keys * (caps(call) ? 2 : 1);
  const int queries = queries_of_a_group(call, numbers);
  const Backward task{call, queries, (call.queries + queries - 1) / queries};
  const bool by_batch = !call.rows || call.rows->by_batch, by_head = !call.rows || call.rows->by_head;
  const std::int64_t tasks = (by_batch ? call.batch : 1) * (by_head ? call.kv_heads : 1) * call.parts;
  const auto run = [&](Task each, std::int64_t room) { return run_parallel(call.threads, tasks, (std::size_t)room, each, &task); };
  if (call.rows) {
    return call.weight ? run(backward_task<rows_backward_any<Additive>>, rows_backward_room<Additive>(call, queries))
                       : run(backward_task<rows_backward_any<Singles>>, rows_backward_room<Singles>(call, queries));
  }
  if (call.weight) return run(backward_task<backward_any<float, Additive>>, backward_room<Additive>(call, queries));
  if (call.type == Type::float32) return run(backward_task<backward_any<float, Singles>>, backward_room<Singles>(call, queries));
  return run(backward_task<backward_any<Half, Halves>>, backward_room<Halves>(call, queries));
}

}  // namespace regard::REGARD_ISA
