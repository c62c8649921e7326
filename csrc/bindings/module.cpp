// The module `regard.ops._native`: its functions but those of decoding.

#include "bindings/calls.h"

#include <optional>

namespace regard::bindings {

const Kernels* chosen = nullptr;

PyObject* done(Status status) {
  if (status == Status::done) Py_RETURN_NONE;
  if (status == Status::no_such_page) {
    PyErr_SetString(PyExc_IndexError, "a page that there is not");
    return nullptr;
  }
  return PyErr_NoMemory();
}

}  // namespace regard::bindings

using namespace regard::bindings;

namespace {

// What every call begins with, in the order of the format below.
#define CALL_FORMAT "i(idKIf(LLLLLLL)(KLLLi))(KLLLL)(KLLLL)(KLLLL)KO"

struct Arguments {
  int type = 0;
  double scale = 0.0;
  unsigned long long bounds = 0, query = 0, key = 0, value = 0, weight = 0;
  PyObject* rows = nullptr;
};

#define CALL_TARGETS(call, given)                                                                                      \
  &call.threads, &given.type, &given.scale, &call.dropout.seed, &call.dropout.threshold, &call.dropout.scale,         \
      &call.batch, &call.heads, &call.kv_heads, &call.queries, &call.keys, &call.width, &call.value_width,            \
      &given.bounds, &call.bounds.batch, &call.bounds.head, &call.bounds.row, &call.bounds.count, TENSOR(call.query, given.query),      \
      TENSOR(call.key, given.key), TENSOR(call.value, given.value), &given.weight, &given.rows
#define TENSOR(tensor, address) &address, &tensor.batch, &tensor.head, &tensor.row, &tensor.column
#define PLACES(places, address) &address, &places.batch, &places.head, &places.part, &places.row

constexpr Py_ssize_t MOST_OBSERVATIONS = 32;

// What `rows` points to.
struct RowsOf {
  regard::Rows rows{};
  regard::Term terms[regard::MOST_TERMS]{};
  regard::Observation observations[MOST_OBSERVATIONS]{};
};

bool read(PyObject* given, regard::Term& term) {
  int kind;
  unsigned long long tensor, gradient, query_positions, key_positions;
  if (!PyArg_ParseTuple(given, "i(KLLLL)(KLLLL)LKLKLLLf", &kind, TENSOR(term.tensor, tensor), TENSOR(term.gradient, gradient),
                        &term.part, &query_positions, &term.query_batch, &key_positions, &term.key_batch, &term.low,
                        &term.span, &term.factor))
    return false;
  term.kind = static_cast<regard::Term::Kind>(kind);
  term.tensor.data = pointer<void>(tensor), term.gradient.data = pointer<void>(gradient);
  term.query_positions = pointer<const std::int32_t>(query_positions);
  term.key_positions = pointer<const std::int32_t>(key_positions);
  return true;
}

bool read(PyObject* given, regard::Observation& one) {
  int kind;
  unsigned long long data, keys, chosen, query_positions, key_positions, gradient;
  if (!PyArg_ParseTuple(given, "iKKLLKLKLKLK", &kind, &data, &keys, &one.first, &one.second, &chosen, &one.chosen_batch,
                        &query_positions, &one.query_batch, &key_positions, &one.key_batch, &gradient))
    return false;
  one.kind = static_cast<regard::Observation::Kind>(kind);
  one.data = pointer<float>(data), one.keys = pointer<std::int64_t>(keys), one.chosen = pointer<const float>(chosen);
  one.query_positions = pointer<const std::int32_t>(query_positions);
  one.key_positions = pointer<const std::int32_t>(key_positions);
  one.gradient = pointer<const float>(gradient);
  return true;
}

bool read(PyObject* given, RowsOf& to) {
  regard::Rows& rows = to.rows;
  int normalizer, by_batch, by_head;
  unsigned long long number, number_gradient;
  PyObject *terms, *observations;
  if (!PyArg_ParseTuple(given, "iffLKLKppiO!O!", &normalizer, &rows.cap, &rows.factor, &rows.highest, &number, &rows.number_head,
                        &number_gradient, &by_batch, &by_head, &rows.parts, &PyTuple_Type, &terms, &PyTuple_Type, &observations))
    return false;
  rows.normalizer = static_cast<regard::Rows::Normalizer>(normalizer);
  rows.number = pointer<const float>(number), rows.number_gradient = pointer<float>(number_gradient);
  rows.by_batch = by_batch, rows.by_head = by_head;
  if (PyTuple_Size(terms) > regard::MOST_TERMS || PyTuple_Size(observations) > MOST_OBSERVATIONS) {
    PyErr_Format(PyExc_ValueError, "the kernels take at most %d terms and %d observations", regard::MOST_TERMS, (int)MOST_OBSERVATIONS);
    return false;
  }
  rows.terms = to.terms, rows.observations = to.observations;
  for (; rows.term_count < PyTuple_Size(terms); ++rows.term_count)
    if (!read(PyTuple_GetItem(terms, rows.term_count), to.terms[rows.term_count])) return false;
  for (; rows.observation_count < PyTuple_Size(observations); ++rows.observation_count)
    if (!read(PyTuple_GetItem(observations, rows.observation_count), to.observations[rows.observation_count])) return false;
  return true;
}

bool complete(regard::Attention& call, const Arguments& given, std::optional<RowsOf>& rows) {
  call.type = static_cast<regard::Type>(given.type);
  call.scale = static_cast<float>(given.scale);
  call.bounds.data = pointer<const std::int64_t>(given.bounds);
  call.query.data = pointer<void>(given.query);
  call.key.data = pointer<void>(given.key);
  call.value.data = pointer<void>(given.value);
  call.weight = pointer<const float>(given.weight);
  if (given.rows == Py_None) return true;
  call.rows = &rows.emplace().rows;
  return read(given.rows, *rows);
}

PyObject* run(regard::AttentionForward& call, unsigned long long context, unsigned long long logsumexp) {
  call.context.data = pointer<void>(context);
  call.logsumexp = pointer<float>(logsumexp);
  regard::Status status;
  Py_BEGIN_ALLOW_THREADS
  status = chosen->forward(call);
  Py_END_ALLOW_THREADS
  return done(status);
}

PyObject* forward(PyObject*, PyObject* arguments) {
  regard::AttentionForward call{};
  Arguments given;
  std::optional<RowsOf> rows;
  unsigned long long context, logsumexp;
  if (!PyArg_ParseTuple(arguments, CALL_FORMAT "(KLLLL)K", CALL_TARGETS(call, given), TENSOR(call.context, context),
                        &logsumexp))
    return nullptr;
  if (!complete(call, given, rows)) return nullptr;
  return run(call, context, logsumexp);
}

// Softmax of products, of keys and values in pages.
PyObject* decode(PyObject*, PyObject* arguments) {
  regard::AttentionForward call{};
  Arguments given;
  std::optional<RowsOf> rows;
  unsigned long long context, logsumexp, table;
  int wide;
  if (!PyArg_ParseTuple(arguments, CALL_FORMAT "(KLLLL)K(KLLLLi)", CALL_TARGETS(call, given), TENSOR(call.context, context),
                        &logsumexp, &table, &call.pages.batch, &call.pages.column, &call.pages.count, &call.pages.size, &wide))
    return nullptr;
  if (!complete(call, given, rows)) return nullptr;
  call.pages.table = pointer<const void>(table);
  call.pages.wide = wide != 0;
  return run(call, context, logsumexp);
}

PyObject* backward(PyObject*, PyObject* arguments) {
  regard::AttentionBackward call{};
  Arguments given;
  std::optional<RowsOf> rows;
  unsigned long long context, context_gradient, logsumexp, logsumexp_gradient, query_gradient, key_gradient, value_gradient,
      weight_gradient;
  if (!PyArg_ParseTuple(arguments, CALL_FORMAT "(KLLLL)(KLLLL)KK(KLLLL)(KLLLL)(KLLLL)KiLL", CALL_TARGETS(call, given),
                        TENSOR(call.context, context), TENSOR(call.context_gradient, context_gradient), &logsumexp,
                        &logsumexp_gradient, TENSOR(call.query_gradient, query_gradient), PLACES(call.key_gradient, key_gradient),
                        PLACES(call.value_gradient, value_gradient), &weight_gradient, &call.parts, &call.padded_width, &call.padded_value_width))
    return nullptr;
  if (!complete(call, given, rows)) return nullptr;
  call.context.data = pointer<void>(context);
  call.context_gradient.data = pointer<void>(context_gradient);
  call.logsumexp = pointer<const float>(logsumexp);
  call.logsumexp_gradient = pointer<const float>(logsumexp_gradient);
  call.query_gradient.data = pointer<void>(query_gradient);
  call.key_gradient.data = pointer<float>(key_gradient);
  call.value_gradient.data = pointer<float>(value_gradient);
  call.weight_gradient = pointer<float>(weight_gradient);
  regard::Status status;
  Py_BEGIN_ALLOW_THREADS
  status = chosen->backward(call);
  Py_END_ALLOW_THREADS
  return done(status);
}

// Returns the loss, summed over the rows.
PyObject* cross_entropy(PyObject*, PyObject* arguments) {
  regard::CrossEntropy call{};
  int type;
  double loss, smoothing;
  unsigned long long hidden, weight, target, hidden_gradient, weight_gradient;
  if (!PyArg_ParseTuple(arguments, "iiLLLKKKdKK", &call.threads, &type, &call.rows, &call.width, &call.vocabulary, &hidden, &weight,
                        &target, &smoothing, &hidden_gradient, &weight_gradient))
    return nullptr;
  call.type = static_cast<regard::Type>(type);
  call.hidden = pointer<const void>(hidden), call.weight = pointer<const void>(weight);
  call.target = pointer<const std::int64_t>(target);
  call.smoothing = static_cast<float>(smoothing);
  call.loss = &loss;
  call.hidden_gradient = pointer<float>(hidden_gradient), call.weight_gradient = pointer<float>(weight_gradient);
  regard::Status status;
  Py_BEGIN_ALLOW_THREADS
  status = chosen->cross_entropy(call);
  Py_END_ALLOW_THREADS
  if (status != regard::Status::done) return done(status);
  return PyFloat_FromDouble(loss);
}

// Sizes and addresses of attention to points; beyond them, where results go.
bool read(PyObject* given, regard::Points& call) {
  unsigned long long sizes, query, memory, where, place;
  if (!PyArg_ParseTuple(given, "if(LLLLLLL)KKKKK", &call.threads, &call.scale, &call.batch, &call.queries, &call.heads, &call.width,
                        &call.levels, &call.points, &call.cells, &sizes, &query, &memory, &where, &place))
    return false;
  call.sizes = pointer<const std::int64_t>(sizes), call.query = pointer<const float>(query);
  call.memory = pointer<const float>(memory), call.where = pointer<const float>(where), call.place = pointer<const float>(place);
  return true;
}

PyObject* points(PyObject*, PyObject* arguments) {
  regard::PointsForward call{};
  PyObject* given;
  unsigned long long context;
  if (!PyArg_ParseTuple(arguments, "OK", &given, &context) || !read(given, call)) return nullptr;
  call.context = pointer<float>(context);
  regard::Status status;
  Py_BEGIN_ALLOW_THREADS
  status = chosen->points(call);
  Py_END_ALLOW_THREADS
  return done(status);
}

PyObject* points_backward(PyObject*, PyObject* arguments) {
  regard::PointsBackward call{};
  PyObject* given;
  unsigned long long context_gradient, query_gradient, memory_gradient, place_gradient;
  if (!PyArg_ParseTuple(arguments, "OKKKK", &given, &context_gradient, &query_gradient, &memory_gradient, &place_gradient) ||
      !read(given, call))
    return nullptr;
  call.context_gradient = pointer<const float>(context_gradient), call.query_gradient = pointer<float>(query_gradient);
  call.memory_gradient = pointer<float>(memory_gradient), call.place_gradient = pointer<float>(place_gradient);
  regard::Status status;
  Py_BEGIN_ALLOW_THREADS
  status = chosen->points_backward(call);
  Py_END_ALLOW_THREADS
  return done(status);
}

#define RESIDUAL_FORMAT "iiiLL(KIf)"
#define RESIDUAL_TARGETS(call, type, branch_type)                                                                      \
  &call.threads, &type, &branch_type, &call.rows, &call.width, &call.dropout.seed, &call.dropout.threshold, &call.dropout.scale

PyObject* residual(PyObject*, PyObject* arguments) {
  regard::ResidualForward call{};
  int type, branch_type;
  unsigned long long inputs, branch, sum, gain, shift, normed, mean, inverse;
  if (!PyArg_ParseTuple(arguments, RESIDUAL_FORMAT "KKK(KKfKKK)", RESIDUAL_TARGETS(call, type, branch_type), &inputs, &branch, &sum,
                        &gain, &shift, &call.eps, &normed, &mean, &inverse))
    return nullptr;
  call.type = static_cast<regard::Type>(type), call.branch_type = static_cast<regard::Type>(branch_type);
  call.inputs = pointer<const void>(inputs), call.branch = pointer<const void>(branch), call.sum = pointer<void>(sum);
  call.gain = pointer<const float>(gain), call.shift = pointer<const float>(shift), call.normed = pointer<void>(normed);
  call.mean = pointer<float>(mean), call.inverse = pointer<float>(inverse);
  regard::Status status;
  Py_BEGIN_ALLOW_THREADS
  status = chosen->residual(call);
  Py_END_ALLOW_THREADS
  return done(status);
}

PyObject* residual_backward(PyObject*, PyObject* arguments) {
  regard::ResidualBackward call{};
  int type, branch_type;
  unsigned long long sum, normed_gradient, sum_gradient, mean, inverse, gain, inputs_gradient, branch_gradient, gain_gradient, shift_gradient;
  if (!PyArg_ParseTuple(arguments, RESIDUAL_FORMAT "KKKKKKKKKK", RESIDUAL_TARGETS(call, type, branch_type), &sum, &normed_gradient,
                        &sum_gradient, &mean, &inverse, &gain, &inputs_gradient, &branch_gradient, &gain_gradient, &shift_gradient))
    return nullptr;
  call.type = static_cast<regard::Type>(type), call.branch_type = static_cast<regard::Type>(branch_type);
  call.sum = pointer<const void>(sum), call.normed_gradient = pointer<const void>(normed_gradient);
  call.sum_gradient = pointer<const void>(sum_gradient);
  call.mean = pointer<const float>(mean), call.inverse = pointer<const float>(inverse), call.gain = pointer<const float>(gain);
  call.inputs_gradient = pointer<void>(inputs_gradient), call.branch_gradient = pointer<void>(branch_gradient);
  call.gain_gradient = pointer<float>(gain_gradient), call.shift_gradient = pointer<float>(shift_gradient);
  regard::Status status;
  Py_BEGIN_ALLOW_THREADS
  status = chosen->residual_backward(call);
  Py_END_ALLOW_THREADS
  return done(status);
}

PyObject* plan(PyObject*, PyObject* arguments) {
  regard::Attention call{};
  int type;
  unsigned long long bounds;
  if (!PyArg_ParseTuple(arguments, "ii(LLLLLLL)(KLLLi)", &call.threads, &type, &call.batch, &call.heads, &call.kv_heads, &call.queries,
                        &call.keys, &call.width, &call.value_width, &bounds, &call.bounds.batch, &call.bounds.head, &call.bounds.row,
                        &call.bounds.count))
    return nullptr;
  call.type = static_cast<regard::Type>(type);
  call.bounds.data = pointer<const std::int64_t>(bounds);
  const regard::BackwardPlan made = chosen->plan(call);
  return Py_BuildValue("iLL", made.parts, static_cast<long long>(made.padded_width),
                       static_cast<long long>(made.padded_value_width));
}

PyObject* built(PyObject*, PyObject*) {
  PyObject* names = PyDict_New();
  if (!names) return nullptr;
  for (const regard::Kernels* const* one = regard::BUILT; *one; ++one)
    if (PyDict_SetItemString(names, (*one)->name, regard::supported(**one) ? Py_True : Py_False) < 0) {
      Py_DECREF(names);
      return nullptr;
    }
  return names;
}

PyObject* use(PyObject*, PyObject* arguments) {
  const char* name;
  if (!PyArg_ParseTuple(arguments, "z", &name)) return nullptr;
  const regard::Kernels* found = regard::choose(name);
  if (!found) {
    PyErr_Format(PyExc_ValueError, "this processor and this build have no kernels for \"%s\"", name ? name : "");
    return nullptr;
  }
  chosen = found;
  return PyUnicode_FromString(chosen->name);
}

PyObject* multiply_add(PyObject*, PyObject* arguments) {
  int type, threads, rounds;
  if (!PyArg_ParseTuple(arguments, "iii", &type, &threads, &rounds)) return nullptr;
  double operations;
  Py_BEGIN_ALLOW_THREADS
  operations = chosen->multiply_add(static_cast<regard::Type>(type), threads, rounds);
  Py_END_ALLOW_THREADS
  return PyFloat_FromDouble(operations);
}

PyObject* in_use(PyObject*, PyObject*) { return PyUnicode_FromString(chosen->name); }

PyMethodDef methods[] = {
    {"forward", forward, METH_VARARGS, "Context and log-sum-exp of a call."},
    {"decode", decode, METH_VARARGS, "Context and log-sum-exp of a call whose keys and values lie in pages."},
    {"backward", backward, METH_VARARGS, "Gradients of a call."},
    {"cross_entropy", cross_entropy, METH_VARARGS, "The loss of an output projection, summed over its rows, and gradients of its mean."},
    {"points", points, METH_VARARGS, "Attention to points of maps."},
    {"points_backward", points_backward, METH_VARARGS, "Gradients of attention to points of maps."},
    {"residual", residual, METH_VARARGS, "Dropout of features, added to inputs, and layer norm of the sum."},
    {"residual_backward", residual_backward, METH_VARARGS, "Gradients of dropout, residual sum and layer norm."},
    {"packed_numbers", packed_numbers, METH_VARARGS, "How many numbers a packed weight has."},
    {"pack_weight", pack_weight, METH_VARARGS, "A weight as projections read it."},
    {"fingerprint", fingerprint_of, METH_VARARGS, "A hash of what tensors hold."},
    {"decoder_rows", decoder_rows, METH_VARARGS, "What a Transformer's decoder keeps of the rows of a search."},
    {"decoder_step", decoder_step, METH_VARARGS, "A step of a decoder's rows."},
    {"decoder_select", decoder_select, METH_VARARGS, "Keep, drop, reorder or repeat a decoder's rows."},
    {"decoder_search", decoder_search, METH_VARARGS, "All steps of a search."},
    {"ranking", ranking, METH_VARARGS, "The log-sum-exp of rows, and their greatest numbers."},
    {"plan", plan, METH_VARARGS, "(parts, padded width, padded value width) of the backward pass."},
    {"built", built, METH_NOARGS, "The instruction sets of this build, the best first, and whether this processor has each."},
    {"use", use, METH_VARARGS, "Use an instruction set by name, or with None the best; returns its name."},
    {"multiply_add", multiply_add, METH_VARARGS, "Multiply and add in registers; returns how many operations it took."},
    {"in_use", in_use, METH_NOARGS, "The name of the instruction set that runs."},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_native", "The kernels.", -1, methods, nullptr, nullptr, nullptr, nullptr};

}  // namespace

PyMODINIT_FUNC PyInit__native() {
  chosen = regard::choose(nullptr);
  return PyModule_Create(&definition);
}
