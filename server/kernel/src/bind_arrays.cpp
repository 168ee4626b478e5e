#include "bind_arrays.h"

#include <sstream>

namespace fanlight {
namespace {

std::string type_name(char kind, py::ssize_t itemsize) {
  const char* name = kind == 'f' ? "float" : kind == 'i' ? "int" : "uint";
  return name + std::to_string(8 * itemsize);
}

std::string shape_text(const std::vector<py::ssize_t>& shape) {
  std::ostringstream text;
  text << "(";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    text << (i ? ", " : "");
    if (shape[i] == kAny) {
      text << "any";
    } else {
      text << shape[i];
    }
  }
  text << (shape.size() == 1 ? ",)" : ")");
  return text.str();
}

[[noreturn]] void refuse_type(const Expected& expected, const std::string& got) {
  throw py::type_error(std::string(expected.name) + ": expected an array of " +
                       type_name(expected.kind, expected.itemsize) + ", got " + got);
}

void check_type(const py::array& array, const Expected& expected) {
  const py::dtype type = array.dtype();
  const bool native = type.byteorder() == '=' || type.byteorder() == '|';
  if (type.kind() != expected.kind || type.itemsize() != expected.itemsize || !native) {
    refuse_type(expected, py::str(static_cast<py::object>(type)).cast<std::string>());
  }
}

void check_shape(const py::array& array, const Expected& expected) {
  const std::vector<py::ssize_t> shape(array.shape(), array.shape() + array.ndim());
  bool fits = shape.size() == expected.shape.size();
  for (std::size_t i = 0; fits && i < shape.size(); ++i) {
    fits = expected.shape[i] == kAny || expected.shape[i] == shape[i];
  }
  if (!fits) {
    throw py::value_error(std::string(expected.name) + ": expected shape " +
                          shape_text(expected.shape) + ", got " + shape_text(shape));
  }
}

}  // namespace

py::array checked_array(py::handle value, const Expected& expected) {
  if (!py::isinstance<py::array>(value)) {
    refuse_type(expected, py::str(py::type::handle_of(value).attr("__name__")).cast<std::string>());
  }
  py::array array = py::reinterpret_borrow<py::array>(value);
  check_type(array, expected);
  check_shape(array, expected);
  constexpr int needed = py::array::c_style | py::detail::npy_api::NPY_ARRAY_ALIGNED_;
  if ((array.flags() & needed) != needed) {
    throw py::value_error(std::string(expected.name) +
                          ": expected a C-contiguous, aligned array, got one that is not");
  }
  return array;
}

std::size_t checked_range(const char* name, py::ssize_t value, py::ssize_t low, py::ssize_t high) {
  if (value < low || value > high) {
    throw py::value_error(std::string(name) + ": expected " + std::to_string(low) + " to " +
                          std::to_string(high) + ", got " + std::to_string(value));
  }
  return static_cast<std::size_t>(value);
}

}  // namespace fanlight
