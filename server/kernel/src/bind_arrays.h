// numpy arrays at the boundary: nothing behind it has to doubt a shape, a type or a pointer.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace fanlight {

namespace py = pybind11;

// Any extent of a shape.
constexpr py::ssize_t kAny = -1;

// What an argument must be: named in errors, with the letters of its shape.
struct Expected {
  const char* name;
  char kind;  // numpy's: 'f', 'i' or 'u'
  py::ssize_t itemsize;
  std::vector<py::ssize_t> shape;
};

// Raises TypeError or ValueError, naming the argument, unless it is a C-contiguous, aligned array
// in the machine's byte order of the type and shape expected.
py::array checked_array(py::handle value, const Expected& expected);

// An array that was checked, kept alive, and where its elements are.
template <typename T>
class Array {
 public:
  Array() = default;
  Array(py::handle value, const char* name, std::vector<py::ssize_t> shape)
      : array_(checked_array(value, {name, kind(), sizeof(T), std::move(shape)})) {}

  const T* data() const { return static_cast<const T*>(array_.data()); }
  std::size_t extent(int axis) const { return static_cast<std::size_t>(array_.shape(axis)); }

 private:
  static constexpr char kind() {
    return std::is_floating_point<T>::value ? 'f' : std::is_signed<T>::value ? 'i' : 'u';
  }

  py::array array_;
};

// Raises ValueError, naming the argument, unless low <= value <= high.
std::size_t checked_range(const char* name, py::ssize_t value, py::ssize_t low, py::ssize_t high);

// Row numbers fit 31 bits: walks keep a mark in the highest one.
constexpr py::ssize_t kMaxRows = (py::ssize_t{1} << 31) - 1;
// Sums of products of codes of more elements would not fit 32 bits.
constexpr py::ssize_t kMaxDim = 65'536;

}  // namespace fanlight
