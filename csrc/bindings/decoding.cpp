// Decoding: the steps of a decoder, and searches over them.

#include "bindings/calls.h"

#include <new>
#include <utility>

#include "search/fingerprint.h"
#include "search/search.h"

namespace regard::bindings {
namespace {

constexpr const char* ROWS = "regard.DecoderRows";
constexpr Py_ssize_t MOST_BLOCKS = 128;

bool read(PyObject* given, Norm& norm) {
  unsigned long long gain, shift;
  if (!PyArg_ParseTuple(given, "KKf", &gain, &shift, &norm.eps)) return false;
  norm.gain = pointer<const float>(gain), norm.shift = pointer<const float>(shift);
  return true;
}

bool read(PyObject* given, Linear& linear) {
  unsigned long long packed, bias;
  if (!PyArg_ParseTuple(given, "LLKK", &linear.depth, &linear.columns, &packed, &bias)) return false;
  linear.packed = pointer<const float>(packed), linear.bias = pointer<const float>(bias);
  return true;
}

bool read(PyObject* given, Heads& heads) {
  return PyArg_ParseTuple(given, "LLLf", &heads.heads, &heads.kv_heads, &heads.width, &heads.scale);
}

bool read(PyObject* given, DecoderBlock& block) {
  PyObject *norms[6], *linears[6], *own, *cross;
  int activation;
  unsigned long long memory;
  if (!PyArg_ParseTuple(given, "(OOO)(OOO)(OOOOOO)OOiK", &norms[0], &norms[1], &norms[2], &norms[3], &norms[4], &norms[5], &linears[0],
                        &linears[1], &linears[2], &linears[3], &linears[4], &linears[5], &own, &cross, &activation, &memory))
    return false;
  block.activation = static_cast<Activation>(activation), block.memory = pointer<const float>(memory);
  for (int i = 0; i < 3; ++i)
    if (!read(norms[i], block.before[i]) || !read(norms[3 + i], block.after[i])) return false;
  Linear* const to[] = {&block.read, &block.write, &block.ask, &block.answer, &block.inner, &block.outer};
  for (int i = 0; i < 6; ++i)
    if (!read(linears[i], *to[i])) return false;
  return read(own, block.own) && read(cross, block.cross);
}

DecoderRows* rows_of(PyObject* capsule) { return static_cast<DecoderRows*>(PyCapsule_GetPointer(capsule, ROWS)); }

void forget(PyObject* capsule) { delete rows_of(capsule); }

// Whether nobody has interrupted: the search itself runs without Python's lock.
bool goes_on() {
  const PyGILState_STATE state = PyGILState_Ensure();
  const bool fine = PyErr_CheckSignals() == 0;
  PyGILState_Release(state);
  return fine;
}

PyObject* bytes(const std::vector<std::int32_t>& numbers) {
  return PyBytes_FromStringAndSize(reinterpret_cast<const char*>(numbers.data()), (Py_ssize_t)(numbers.size() * sizeof(std::int32_t)));
}

PyObject* endings(const std::vector<Ending>& found) {
  PyObject* list = PyList_New((Py_ssize_t)found.size());
  for (std::size_t i = 0; list && i < found.size(); ++i) {
    const Ending& one = found[i];
    PyObject* made = Py_BuildValue("iiiiff", one.sentence, one.step, one.row, one.token, one.log_probability, one.score);
    if (!made || PyList_SetItem(list, (Py_ssize_t)i, made) < 0) {
      Py_DECREF(list);
      return nullptr;
    }
  }
  return list;
}

}  // namespace

PyObject* packed_numbers(PyObject*, PyObject* arguments) {
  long long depth, columns;
  if (!PyArg_ParseTuple(arguments, "LL", &depth, &columns)) return nullptr;
  return PyLong_FromLongLong(chosen->packed_numbers(depth, columns));
}

PyObject* pack_weight(PyObject*, PyObject* arguments) {
  unsigned long long weight, packed;
  long long depth, columns;
  if (!PyArg_ParseTuple(arguments, "KLLK", &weight, &depth, &columns, &packed)) return nullptr;
  Py_BEGIN_ALLOW_THREADS
  chosen->pack_weight(pointer<const float>(weight), depth, columns, pointer<float>(packed));
  Py_END_ALLOW_THREADS
  Py_RETURN_NONE;
}

PyObject* fingerprint_of(PyObject*, PyObject* arguments) {
  std::vector<std::pair<unsigned long long, long long>> tensors((std::size_t)PyTuple_Size(arguments));  // address and count
  for (std::size_t i = 0; i < tensors.size(); ++i)
    if (!PyArg_ParseTuple(PyTuple_GetItem(arguments, (Py_ssize_t)i), "KL", &tensors[i].first, &tensors[i].second)) return nullptr;
  std::uint64_t hash = 0;
  Py_BEGIN_ALLOW_THREADS
  for (const auto& [address, count] : tensors) hash = fingerprint(pointer<const float>(address), count, hash);
  Py_END_ALLOW_THREADS
  return PyLong_FromUnsignedLongLong(hash);
}

PyObject* ranking(PyObject*, PyObject* arguments) {
  Ranking call{};
  unsigned long long values, logsumexp, best, places;
  if (!PyArg_ParseTuple(arguments, "iLLKKiKK", &call.threads, &call.rows, &call.columns, &values, &logsumexp, &call.count, &best, &places))
    return nullptr;
  call.values = pointer<const float>(values), call.logsumexp = pointer<float>(logsumexp);
  call.best = pointer<float>(best), call.places = pointer<std::int64_t>(places);
  Status status;
  Py_BEGIN_ALLOW_THREADS
  status = chosen->ranking(call);
  Py_END_ALLOW_THREADS
  return done(status);
}

PyObject* decoder_rows(PyObject*, PyObject* arguments) {
  Decoder decoder{};
  DecoderBlock blocks[MOST_BLOCKS];
  PyObject *given, *norm, *logits;
  unsigned long long lengths;
  if (!PyArg_ParseTuple(arguments, "O!LLLKOO", &PyTuple_Type, &given, &decoder.dim, &decoder.sentences, &decoder.places, &lengths, &norm,
                        &logits) ||
      !read(norm, decoder.norm) || !read(logits, decoder.logits))
    return nullptr;
  decoder.blocks = PyTuple_Size(given);
  if (decoder.blocks > MOST_BLOCKS) {
    PyErr_Format(PyExc_ValueError, "a decoder has at most %zd blocks", MOST_BLOCKS);
    return nullptr;
  }
  for (std::int64_t b = 0; b < decoder.blocks; ++b)
    if (!read(PyTuple_GetItem(given, b), blocks[b])) return nullptr;
  decoder.block = blocks, decoder.lengths = pointer<const std::int64_t>(lengths);
  DecoderRows* rows;
  try {
    rows = new DecoderRows(*chosen, decoder);
  } catch (const std::bad_alloc&) {
    return PyErr_NoMemory();
  }
  PyObject* capsule = PyCapsule_New(rows, ROWS, forget);
  if (!capsule) delete rows;
  return capsule;
}

PyObject* decoder_step(PyObject*, PyObject* arguments) {
  PyObject* capsule;
  int threads;
  unsigned long long hidden, turn, logits;
  if (!PyArg_ParseTuple(arguments, "OiKKK", &capsule, &threads, &hidden, &turn, &logits)) return nullptr;
  DecoderRows* rows = rows_of(capsule);
  if (!rows) return nullptr;
  Status status;
  Py_BEGIN_ALLOW_THREADS
  status = rows->step(pointer<float>(hidden), pointer<const float>(turn), pointer<float>(logits), threads);
  Py_END_ALLOW_THREADS
  return done(status);
}

PyObject* decoder_select(PyObject*, PyObject* arguments) {
  PyObject* capsule;
  long long count;
  unsigned long long chosen_rows;
  if (!PyArg_ParseTuple(arguments, "OKL", &capsule, &chosen_rows, &count)) return nullptr;
  DecoderRows* rows = rows_of(capsule);
  return rows ? done(rows->select(pointer<const std::int64_t>(chosen_rows), count)) : nullptr;
}

PyObject* decoder_search(PyObject*, PyObject* arguments) {
  Search call{};
  Searched found;
  PyObject* capsule;
  int greedy;
  unsigned long long table, positions, turns, longest;
  if (!PyArg_ParseTuple(arguments, "Oi(KfKKL)Kpiid(Li)", &capsule, &call.threads, &table, &call.scale, &positions, &turns, &call.turn,
                        &longest, &greedy, &call.width, &call.best, &call.penalty, &call.shortest, &call.ngram))
    return nullptr;
  call.rows = rows_of(capsule), call.greedy = greedy, call.goes_on = goes_on;
  if (!call.rows) return nullptr;
  call.table = pointer<const float>(table), call.positions = pointer<const float>(positions);
  call.turns = pointer<const float>(turns), call.longest = pointer<const std::int64_t>(longest);
  Status status;
  Py_BEGIN_ALLOW_THREADS
  status = search(call, found);
  Py_END_ALLOW_THREADS
  if (PyErr_Occurred()) return nullptr;
  if (status != Status::done) return done(status);
  return Py_BuildValue("(NNNN)(LLN)", bytes(found.parents), bytes(found.tokens), bytes(found.counts), endings(found.endings),
                       (long long)found.impossible, (long long)found.after, PyBool_FromLong(found.strange));
}

}  // namespace regard::bindings
