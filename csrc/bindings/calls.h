// What the files of the module `regard.ops._native` share: addresses, sizes and strides in, a status out. The module knows
// nothing of torch, and is built against Python's limited API, so that one build serves every version of either.
#pragma once

#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "dispatch/choose.h"

namespace regard::bindings {

extern const Kernels* chosen;  // those that run

PyObject* done(Status status);

template <typename T>
T* pointer(unsigned long long address) {
  return reinterpret_cast<T*>(address);
}

// decoding.cpp
PyObject* packed_numbers(PyObject*, PyObject* arguments);
PyObject* pack_weight(PyObject*, PyObject* arguments);
PyObject* fingerprint_of(PyObject*, PyObject* arguments);
PyObject* ranking(PyObject*, PyObject* arguments);
PyObject* decoder_rows(PyObject*, PyObject* arguments);
PyObject* decoder_step(PyObject*, PyObject* arguments);
PyObject* decoder_select(PyObject*, PyObject* arguments);
PyObject* decoder_search(PyObject*, PyObject* arguments);

}  // namespace regard::bindings
